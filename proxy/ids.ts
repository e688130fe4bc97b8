import { randomBytes } from 'node:crypto';

const ALPHABET = Buffer.from('0123456789abcdefghjkmnpqrstvwxyz');
const TIME_DIGITS = 10;
const COUNTER_AT = TIME_DIGITS;
const RANDOM_AT = COUNTER_AT + 2;
const DIGITS = 26;
const COUNTER_END = 32 ** (RANDOM_AT - COUNTER_AT);

/** The id that was made last, written over by the next. */
const digits = Buffer.alloc(DIGITS);
let lastMs = 0;
let counter = 0;
let pool = Buffer.alloc(0);
let used = 0;

/**
 * A new id, `<prefix>_` and 26 characters: time in milliseconds, a counter within it, 70 random bits. Ids of one
 * process sort in the order they were made, so the newest rows are the hottest pages.
 */
export function newId(prefix: 'call' | 'key' | 'req'): string {
  const now = Date.now();
  counter += 1;
  // Neither a clock that steps back nor a full counter must break the order of a running process.
  if (now > lastMs || counter === COUNTER_END) {
    counter = 0;
    lastMs = Math.max(now, lastMs + 1);
    writeNumber(lastMs, 0, TIME_DIGITS);
  }
  writeNumber(counter, COUNTER_AT, RANDOM_AT - COUNTER_AT);
  const random = fewRandomBytes(DIGITS - RANDOM_AT);
  for (let index = 0; index < random.length; index += 1) writeDigit(random[index] ?? 0, RANDOM_AT + index);
  return `${prefix}_${digits.toString('latin1')}`;
}

/** Its last digits to the base of 32. */
function writeNumber(value: number, from: number, count: number): void {
  let rest = value;
  for (let index = from + count - 1; index >= from; index -= 1) {
    writeDigit(rest % 32, index);
    rest = Math.floor(rest / 32);
  }
}

function writeDigit(value: number, index: number): void {
  digits[index] = ALPHABET[value % 32] ?? 0;
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
