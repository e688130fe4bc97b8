import { Refusal } from './contract';
import { factsOf, type KeyFacts } from './ledger/facts';
import type { Ledger } from './ledger/ledger';
import type { Seal } from './seal';

const CACHE_MAX = 10_000;

/**
 * Finds out whose vault key a request carries. Only what never changes is remembered; whether the key is alive is
 * read in the reserve step.
 */
export class Authenticator {
  readonly #seal: Seal;
  readonly #ledger: Ledger;
  readonly #known = new Map<string, KeyFacts>();

  constructor(seal: Seal, ledger: Ledger) {
    this.#seal = seal;
    this.#ledger = ledger;
  }

  /** The facts of a vault key that was seen before, at once; undefined: ask {@link authenticate}. */
  seenBefore(authorization: string | undefined): KeyFacts | undefined {
    const vaultKey = vaultKeyIn(authorization);
    return vaultKey === undefined ? undefined : this.#known.get(vaultKey);
  }

  /** Is {@link authenticate} sure to refuse it? Told at once, without the store. */
  refuses(authorization: string | undefined): boolean {
    const vaultKey = vaultKeyIn(authorization);
    if (vaultKey === undefined) return true;
    return !this.#known.has(vaultKey) && this.#seal.keyIdOf(vaultKey) === undefined;
  }

  /** For those not seen before. Throws {@link Refusal} `key_invalid` for a missing or false vault key. */
  async authenticate(authorization: string | undefined): Promise<KeyFacts> {
    const vaultKey = vaultKeyIn(authorization);
    if (vaultKey === undefined) {
      throw new Refusal('key_invalid', 'key_invalid: no vault key; give it as Bearer token or as Basic password.');
    }
    const keyId = this.#seal.keyIdOf(vaultKey);
    const row = keyId && (await this.#ledger.submit((rows) => rows.get('keys', keyId)));
    if (!row) throw new Refusal('key_invalid', 'key_invalid: this is not a vault key that was issued here.');
    const facts = factsOf(row);
    if (this.#known.size >= CACHE_MAX) this.#known.clear();
    this.#known.set(vaultKey, facts);
    return facts;
  }
}

/** The vault key of a Bearer token, or the password of Basic credentials (RFC 7617). */
function vaultKeyIn(authorization: string | undefined): string | undefined {
  if (authorization === undefined) return undefined;
  const space = authorization.indexOf(' ');
  const scheme = authorization.slice(0, space).toLowerCase();
  const credentials = authorization.slice(space + 1).trim();
  if (scheme === 'bearer') return credentials;
  if (scheme !== 'basic') return undefined;
  const pair = Buffer.from(credentials, 'base64').toString();
  // stripe's own curl examples give the key as user name with an empty password.
  const colon = pair.indexOf(':');
  const [user, password] = colon < 0 ? [pair, ''] : [pair.slice(0, colon), pair.slice(colon + 1)];
  return password === '' ? user : password;
}
