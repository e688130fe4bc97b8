import { randomBytes } from 'node:crypto';

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
let lastMs = 0;
let lastText = '';
let counter = 0;
let pool = Buffer.alloc(0);
let used = 0;

/**
 * A new id, `<prefix>_` and 26 characters: time in milliseconds, a counter within it, 70 random bits. Ids of one
 * process sort in the order they were made, so the newest rows are the hottest pages.
 */
export function newId(prefix: 'call' | 'key' | 'req'): string {
  const now = Date.now();
  // A clock that steps back must not break the order of a running process.
  if (now > lastMs) {
    counter = 0;
    lastMs = now;
    lastText = base32(now, 10);
  } else {
    counter += 1;
  }
  return `${prefix}_${lastText}${base32(counter % 32 ** 2, 2)}${randomText(14)}`;
}

function base32(value: number, digits: number): string {
  let text = '';
  for (let rest = value; text.length < digits; rest = Math.floor(rest / 32)) text = ALPHABET[rest % 32] + text;
  return text;
}

function randomText(digits: number): string {
  const bytes = fewRandomBytes(digits);
  let text = '';
  for (let index = 0; index < digits; index += 1) text += ALPHABET.charAt((bytes[index] ?? 0) % 32);
  return text;
}

/** Random bytes, drawn in large pieces: one system call for some hundred ids. */
export function fewRandomBytes(bytes: number): Buffer {
  if (used + bytes > pool.length) {
    pool = randomBytes(4096);
    used = 0;
  }
  used += bytes;
  return pool.subarray(used - bytes, used);
}
