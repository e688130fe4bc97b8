/** The records that a run has called, by the rows of its key. */
import type { CallView } from '../proxy/contract';
import { offsetIn } from './outcome';
import type { SourceItem } from './sources';

/** Each once, in the order of their first calls. */
export async function* called(calls: AsyncIterable<CallView>): AsyncGenerator<SourceItem> {
  const seen = new Set<string>();
  for await (const { record_id: id, context } of calls) {
    const place = `${id}\0${context}`;
    if (id === null || seen.has(place)) continue;
    seen.add(place);
    const offset = offsetIn(context) ?? 0;
    // The ledger has the record id as it went over the wire.
    yield { ref: { id, activityId: id, offset, length: 0, line: offset + 1 } };
  }
}
