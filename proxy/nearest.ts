/** Finds what somebody probably meant. */
import { distance } from 'fastest-levenshtein';

const NAME_CHARS_MAX = 200;

/** The known name that is the fewest edits away, if those are no more than a third of the name (two at least). */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  const asked = plain(name);
  const byEdits = known.map((candidate) => [distance(asked, plain(candidate)), candidate] as const);
  const [edits, nearest] = byEdits.toSorted(([a], [b]) => a - b)[0] ?? [Infinity, undefined];
  return edits <= Math.max(2, asked.length / 3) ? nearest : undefined;
}

/** `usdCap`, `usd-cap` and `USD_CAP` are one name to people. */
function plain(name: string): string {
  return name
    .slice(0, NAME_CHARS_MAX)
    .toLowerCase()
    .replaceAll(/[_\- ]/g, '');
}
