/** Wrong fields of the input, put into words: what is wrong, what would be right, and never the value itself. */
import { ApplicationFailure } from '@temporalio/common';
import { distance } from 'fastest-levenshtein';
import type { Issue } from '../proxy/contract';
import { FAILURES } from './codes';

const NAME_CHARS_MAX = 60;

/** The failure of a wrong input: one line a field; not retryable, since the same input stays wrong. */
export function invalidInput(issues: readonly Issue[], what = 'The input of pipelineRun is'): ApplicationFailure {
  const lines = issues.map(({ path, message }) => `${path === '' ? 'input' : path}: ${message}`);
  const places = lines.length === 1 ? 'one place' : `${lines.length} places`;
  const heading = `${what} wrong in ${places}:`;
  return ApplicationFailure.create({
    type: FAILURES.invalidInput,
    message: [heading, ...lines].join('\n'),
    nonRetryable: true,
    details: [{ issues }],
  });
}

/** The fields that each object of the input may have, by its path. */
export type KnownFields = Readonly<Record<string, readonly string[]>>;

/** What to say about a field that does not exist at `path`. */
export function unknownField(path: string, name: string, known: KnownFields): Issue {
  const field = joinPath(path, [shorten(name)]);
  const here = known[path] ?? [];
  if (here.includes(name)) return { path: field, message: 'does not belong to this kind' };
  const meant = nearest(name, here) ?? elsewhere(name, known);
  return { path: field, message: `unknown field${meant === undefined ? '' : `; did you mean ${meant}?`}` };
}

/** The name of `names` that was most likely meant, if any is near enough. */
export function nearest(name: string, names: readonly string[]): string | undefined {
  const wanted = plain(name);
  const ranked = names
    .map((candidate) => ({ candidate, edits: distance(wanted, plain(candidate)) }))
    .toSorted((a, b) => a.edits - b.edits);
  const [best] = ranked;
  return best !== undefined && best.edits <= Math.min(3, Math.ceil(wanted.length / 3)) ? best.candidate : undefined;
}

/** `['key', 'fx', 0]` as `key.fx[0]`. */
export function joinPath(base: string, steps: readonly PropertyKey[]): string {
  return steps.reduce<string>((path, step) => {
    if (typeof step === 'number') return `${path}[${step}]`;
    return path === '' ? String(step) : `${path}.${String(step)}`;
  }, base);
}

/** A field that exists, but in another object: `usdCap` at the top is `key.usdCap`. */
function elsewhere(name: string, known: KnownFields): string | undefined {
  for (const [path, names] of Object.entries(known)) {
    const found = names.find((candidate) => plain(candidate) === plain(name));
    if (found !== undefined) return joinPath(path, [found]);
  }
  return undefined;
}

function shorten(name: string): string {
  return name.length <= NAME_CHARS_MAX ? name : `${name.slice(0, NAME_CHARS_MAX)}…`;
}

/** `usd_cap`, `usd-cap` and `UsdCap` are all `usdcap`. */
function plain(name: string): string {
  return name
    .slice(0, NAME_CHARS_MAX)
    .toLowerCase()
    .replaceAll(/[^a-z0-9]/g, '');
}
