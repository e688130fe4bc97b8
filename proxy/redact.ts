/** Takes secrets out of text that people or log collectors read. */

/** A vault key wherever it stands. */
export const VAULT_KEY = /vk_[A-Za-z0-9_]{20,}/g;

/** What looks like a credential, and what is left of it: the name in front stays, so that the line makes sense. */
const PATTERNS: readonly (readonly [RegExp, string])[] = [
  [VAULT_KEY, 'vk_[hidden]'],
  [/\b((?:sk|rk)_(?:org_)?(?:live|test))_[A-Za-z0-9]{6,}/g, '$1_[hidden]'],
  [/\b(whsec|re|SG)_[A-Za-z0-9_]{16,}/g, '$1_[hidden]'],
  // The name of the variable that holds the key is none, and tells which key is meant.
  [/\b(Bearer|Basic)\s+(?!KEYBRAKE_(?:API|WORKER)_KEY(?!\.?[\w+/=~-]))[A-Za-z0-9+/=._~-]{6,}/gi, '$1 [hidden]'],
  [/("(?:authorization|proxy-authorization|cookie|set-cookie)"\s*:\s*)"(?:[^"\\]|\\.)*"/gi, '$1"[hidden]"'],
];

/** The text with vault keys, vendor secrets, credentials in headers, and the given secrets hidden. */
export function hideSecrets(text: string, secrets: readonly string[] = []): string {
  let hidden = text;
  for (const secret of secrets) {
    if (secret.length < 4) continue;
    hidden = hidden.replaceAll(secret, '[hidden]').replaceAll(JSON.stringify(secret).slice(1, -1), '[hidden]');
  }
  for (const [pattern, left] of PATTERNS) hidden = hidden.replace(pattern, left);
  return hidden;
}
