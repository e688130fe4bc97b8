/** How many segments a text is sent and billed in (3GPP TS 23.038), counted apart from any library. */

/** What a text comes to on the air. */
export interface Segmentation {
  readonly encoding: 'GSM-7' | 'UCS-2';
  readonly segments: number;
}

const BASIC =
  '@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&\'()*+,-./0123456789:;<=>?' +
  '¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà';
const EXTENDED = '\f^{}\\[~]|€';

/** The septets of each character of GSM-7; those of the extension table take an escape more. */
const SEPTETS: ReadonlyMap<string, number> = new Map([
  ...Array.from(BASIC).map((char) => [char, 1] as const),
  ...Array.from(EXTENDED).map((char) => [char, 2] as const),
]);

/** One segment alone, and each of several: six bytes of every one of those tell how they belong together. */
const CAPACITY = { 'GSM-7': { alone: 160, each: 153 }, 'UCS-2': { alone: 70, each: 67 } } as const;

/** What `SmartEncoded=true` writes in place of characters that are not in GSM-7. */
const SMART: Readonly<Record<string, string>> = {
  '\u2018': "'",
  '\u2019': "'",
  '\u201a': ',',
  '\u201b': "'",
  '\u201c': '"',
  '\u201d': '"',
  '\u201e': '"',
  '\u00ab': '"',
  '\u00bb': '"',
  '\u2010': '-',
  '\u2011': '-',
  '\u2012': '-',
  '\u2013': '-',
  '\u2014': '-',
  '\u2015': '-',
  '\u2026': '...',
  '\u2022': '-',
  '\u00a0': ' ',
  '\u2002': ' ',
  '\u2003': ' ',
  '\u2009': ' ',
  '\u200b': '',
  '\ufeff': '',
  '\u00b4': "'",
  '`': "'",
  '\t': ' ',
};

/** Splits as a sender does: neither an escaped character nor a surrogate pair is torn apart between two segments. */
export function segmentsOf(body: string, smartEncoded = false): Segmentation {
  const chars = Array.from(smartEncoded ? smartened(body) : body);
  const encoding = chars.every((char) => SEPTETS.has(char)) ? 'GSM-7' : 'UCS-2';
  const sizes = chars.map((char) => (encoding === 'GSM-7' ? (SEPTETS.get(char) ?? 0) : char.length));
  const { alone, each } = CAPACITY[encoding];
  const total = sizes.reduce((sum, size) => sum + size, 0);
  return { encoding, segments: total <= alone ? 1 : packed(sizes, each) };
}

function packed(sizes: readonly number[], capacity: number): number {
  let segments = 1;
  let used = 0;
  for (const size of sizes) {
    if (used + size > capacity) {
      segments += 1;
      used = 0;
    }
    used += size;
  }
  return segments;
}

function smartened(body: string): string {
  return Array.from(body)
    .map((char) => SMART[char] ?? char)
    .join('');
}
