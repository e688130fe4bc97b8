import { badRequest } from './errors';

/** A decoded value: text, or a hash of more. Lists (`a[]=x`, `a[0]=x`) are hashes with the keys "0", "1" and so on. */
export type FormValue = string | FormHash;

/** A decoded form. It has no prototype, so that a field named `__proto__` is a field like any other. */
export interface FormHash {
  [name: string]: FormValue;
}

const DEPTH_MAX = 8;
const PAIRS_MAX = 2000;

/** Decodes a form as Stripe would: names are unescaped before brackets are read, and the last of duplicates wins. */
export function decodeForm(text: string): FormHash {
  const form = emptyHash();
  if (text === '') return form;
  const pairs = text.split('&');
  if (pairs.length > PAIRS_MAX) throw badRequest('Invalid request: too many parameters.');
  for (const pair of pairs) {
    const equals = pair.indexOf('=');
    const name = unescapeText(equals < 0 ? pair : pair.slice(0, equals));
    const value = equals < 0 ? '' : unescapeText(pair.slice(equals + 1));
    if (name !== '') put(form, pathOf(name), value);
  }
  return form;
}

/** The texts of a list field, or of a single text given in its place. */
export function textsOf(value: FormValue | undefined): string[] {
  if (value === undefined) return [];
  if (typeof value === 'string') return [value];
  return Object.values(value).filter((item) => typeof item === 'string');
}

function emptyHash(): FormHash {
  return Object.create(null) as FormHash;
}

function put(form: FormHash, path: readonly string[], value: string): void {
  let hash = form;
  for (const [depth, segment] of path.entries()) {
    const name = segment === '' ? String(Object.keys(hash).length) : segment;
    if (depth === path.length - 1) {
      hash[name] = value;
      return;
    }
    const below = hash[name];
    hash = hash[name] = typeof below === 'object' ? below : emptyHash();
  }
}

/** `metadata[a][b]` is `['metadata', 'a', 'b']`; a name whose brackets do not match is taken as it is. */
function pathOf(name: string): readonly string[] {
  const open = name.indexOf('[');
  if (open <= 0 || !name.endsWith(']')) return [name];
  const path = [name.slice(0, open), ...name.slice(open + 1, -1).split('][')];
  if (path.length > DEPTH_MAX) throw badRequest('Invalid request: the parameters are nested too deeply.');
  return path;
}

function unescapeText(text: string): string {
  if (!text.includes('%') && !text.includes('+')) return text;
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    throw badRequest('Invalid request: the body has an invalid percent-encoding.');
  }
}
