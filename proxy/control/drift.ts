/** The drift check as a stream of lines, begun anew for each reader and broken off when it leaves. */
import type { DriftParts } from '../drift';
import { driftOf } from '../drift';
import type { DriftFilter, DriftLine } from '../drift/lines';

/** Readers take a connection that is silent for longer as dead. */
const SILENCE_MS = 5_000;

/** NDJSON. A line is made when its reader has taken the one before, or said after a while that it is on its way. */
export function streamDrift(
  parts: Omit<DriftParts, 'stopping'>,
  filter: DriftFilter,
  draining: () => boolean,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let left = false;
  const stopping = () => (left ? 'nobody waits for it any more' : draining() ? 'the proxy is stopping' : undefined);
  const lines = driftOf({ ...parts, stopping }, filter);
  let next: Promise<IteratorResult<DriftLine, unknown>> | undefined;
  let calls = 0;
  return new ReadableStream(
    {
      async pull(controller) {
        next ??= lines.next();
        const result = await within(next, SILENCE_MS);
        if (result === undefined) {
          controller.enqueue(encoder.encode(lineOf({ type: 'progress', calls })));
          return;
        }
        next = undefined;
        if (result.done === true) return controller.close();
        if (result.value.type === 'progress') calls = result.value.calls;
        controller.enqueue(encoder.encode(lineOf(result.value)));
      },
      async cancel() {
        left = true;
        await lines.return(undefined);
      },
    },
    { highWaterMark: 0 },
  );
}

function lineOf(line: DriftLine): string {
  return `${JSON.stringify(line)}\n`;
}

/** Undefined: it takes longer. */
async function within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
