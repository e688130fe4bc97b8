/** Asks the vendor what became of a call, with reads that move nothing. */
import { withoutSecret } from '../answers';
import { parsed } from '../forward';
import { readUntil } from '../lookup';
import type { Candidate, Shown } from '../vendors/vendor';
import type { Means } from './case';

/** Pages of one search: at 100 a page, the calls of more than a minute of the busiest account. */
const PAGES_MAX = 60;

export interface Asking {
  readonly means: Means;
  readonly stopping: AbortSignal;
}

/** What may be the call's; the caller says whether it takes it. `why`: in words, what came of the search otherwise. */
export async function search(
  asking: Asking,
  take: (candidate: { readonly vendorId: string; readonly shown: Shown }) => Promise<boolean>,
): Promise<{ readonly taken: boolean; readonly why: string }> {
  const { means } = asking;
  if (means.find === undefined) return { taken: false, why: 'the vendor cannot be asked' };
  const { finder, sought } = means.find;
  let unclear: string | undefined;
  let path = finder.search(sought);
  for (let pages = 0; path !== undefined && pages < PAGES_MAX; pages += 1) {
    const read = await get(asking, path);
    const page = 'json' in read ? finder.read(read.json, sought) : undefined;
    if (page === undefined) {
      unclear = 'json' in read ? 'the vendor answered what cannot be understood' : read.why;
      break;
    }
    for (const candidate of page.candidates) {
      const shown = await showOf(asking, candidate);
      if (typeof shown === 'string') unclear = shown;
      else if (await take({ vendorId: candidate.vendorId, shown })) return { taken: true, why: 'found' };
    }
    path = page.next;
  }
  const changed = await changedObject(asking);
  if (changed !== undefined && (await take(changed))) return { taken: true, why: 'found' };
  return { taken: false, why: unclear ?? 'the vendor does not show it' };
}

async function showOf(asking: Asking, candidate: Candidate): Promise<Shown | string> {
  const { finder, sought } = asking.means.find as NonNullable<Means['find']>;
  const read = 'object' in candidate ? { json: candidate.object } : await get(asking, candidate.path);
  if (!('json' in read)) return read.why;
  return finder.show(read.json, sought) ?? `the vendor's ${candidate.vendorId} does not tell`;
}

/** The object that the call was to change, if it shows the change. */
async function changedObject(asking: Asking) {
  const { finder, sought } = asking.means.find as NonNullable<Means['find']>;
  const path = finder.changed?.path(sought);
  if (path === undefined) return undefined;
  const read = await get(asking, path);
  if (!('json' in read) || finder.changed?.shows(read.json, sought) !== true) return undefined;
  const shown = finder.show(read.json, sought);
  return shown && { vendorId: sought.ids['id'] ?? '', shown };
}

type Read = { readonly json: unknown } | { readonly why: string };

/** Reads need no vault key: they are the proxy's own, also for a key that was revoked. */
async function get({ means: { vendor, account }, stopping }: Asking, path: string): Promise<Read> {
  const sent = withoutSecret(await readUntil(stopping, vendor, account, path), account);
  if (sent.kind !== 'answered') return { why: `the vendor could not be asked (${sent.reason})` };
  if (sent.status !== 200) return { why: `the vendor answered ${sent.status} to the look-up` };
  return { json: parsed(sent.body) };
}
