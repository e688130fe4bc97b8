/** `keybrake audit --reconcile`: what the vendor says of a run, against the ledger. */
import type { CallFilter, KeybrakeClient } from '../../proxy/client';
import { formatUsd } from '../../proxy/contract';
import type { DriftEnd, DriftFilter, DriftLine, DriftRow, DriftState, DriftTotal } from '../../proxy/drift/lines';
import { withProxy } from './connect';
import { CliError, tellError } from './errors';
import { type Column, harmless, print, printRows, table } from './output';
import { micros } from './parse';

interface Format {
  readonly json?: boolean;
  readonly csv?: boolean;
}

/** The exit code that stands for what was found. A command that could not ask has read nothing. */
export const EXIT_OF_DRIFT = { equal: 0, differs: 1, unreadable: 2 } as const satisfies Record<DriftState, number>;

/** Prints what differs, the totals, and one clear last line; sets the exit code. */
export async function reconcile(filter: CallFilter, { json, csv }: Format): Promise<void> {
  // A reader that goes (`| head`) ends the command where it is: until the end is known, that must not say equal.
  process.exitCode = EXIT_OF_DRIFT.unreadable;
  try {
    await compared(runOf(filter, csv === true), json === true);
  } catch (error) {
    // Who typed it wrong is told so; to a script it is nothing read, since 1 says that the books differ.
    tellError(error, error instanceof UsageError ? undefined : 'keybrake: could not be read: ');
    process.exitCode = EXIT_OF_DRIFT.unreadable;
  }
}

/** The run is not named, or only a part of it. */
class UsageError extends CliError {}

/** A run, and all of it: a part would leave out calls that account for what the vendor made. */
function runOf({ label, job_id, key_id, ...parts }: CallFilter, csv: boolean): DriftFilter {
  const run = { ...(label !== undefined && { label }), ...(job_id !== undefined && { job_id }) };
  const filter = { ...run, ...(key_id !== undefined && { key_id }) };
  if (Object.keys(filter).length === 0) throw new UsageError('Say which run: --label, --job or --key.');
  if (Object.keys(parts).length > 0 || csv) {
    throw new UsageError('--reconcile is for whole runs: of the other flags it takes only --json.');
  }
  return filter;
}

async function compared(filter: DriftFilter, json: boolean): Promise<void> {
  const totals: DriftTotal[] = [];
  const ends: DriftEnd[] = [];
  await withProxy(async (client) => {
    await mustExist(client, filter);
    const lines = heeded(client.drift(filter), totals, ends);
    if (!json) await printRows(rowsOf(lines), ROWS);
    else for await (const line of lines) await print(JSON.stringify(line));
  });
  const [end] = ends;
  if (end === undefined) throw new CliError('the answer was broken off.');
  if (!json) await printEnd(totals, end);
}

type Told = Exclude<DriftLine, { readonly type: 'progress' }>;

/** The lines for whoever asked, of which totals and end are kept; the end sets the exit code. */
async function* heeded(lines: AsyncIterable<DriftLine>, totals: DriftTotal[], ends: DriftEnd[]): AsyncGenerator<Told> {
  for await (const line of lines) {
    if (line.type === 'progress') continue;
    if (line.type === 'total') totals.push(line);
    if (line.type === 'end') {
      ends.push(line);
      process.exitCode = EXIT_OF_DRIFT[line.state];
    }
    yield line;
  }
}

async function* rowsOf(lines: AsyncIterable<Told>): AsyncGenerator<DriftRow> {
  for await (const line of lines) if (line.type === 'row') yield line;
}

/** Of a run that never was, nothing differs: a mistyped name must not be told as equal. */
async function mustExist(client: KeybrakeClient, { label, job_id: jobId, key_id: keyId }: DriftFilter): Promise<void> {
  if (keyId !== undefined) await client.getKey(keyId);
  if (jobId !== undefined) await client.getJob(jobId);
  if (label === undefined) return;
  const { items } = await client.listKeys({ label });
  if (items.length === 0) throw new CliError(`There is no key with the label ${label}.`);
}

const ROWS: readonly Column<DriftRow>[] = [
  { title: 'WHAT', value: ({ why }) => why },
  { title: 'LEDGER', value: ({ ledger_usd: usd }) => usdOrDash(usd), right: true },
  { title: 'VENDOR', value: ({ vendor_usd: usd }) => usdOrDash(usd), right: true },
  { title: 'RECORD', value: ({ record_id: id }) => id ?? '-', widthMax: 40 },
  { title: 'VENDOR ID', value: ({ vendor_id: id }) => id ?? '-', widthMax: 40 },
  { title: 'CALL ID', value: ({ call_id: id }) => id ?? '-' },
  { title: 'WHY', value: ({ detail }) => detail },
];

const TOTALS: readonly Column<DriftTotal>[] = [
  { title: 'VENDOR', value: ({ vendor }) => vendor },
  { title: 'ACCOUNT', value: ({ account }) => account },
  { title: 'OBJECTS', value: ({ objects }) => String(objects), right: true },
  { title: 'LEDGER', value: ({ ledger_usd: usd }) => usdOrDash(usd), right: true },
  { title: 'AT THE VENDOR', value: ({ vendor_usd: usd }) => usdOrDash(usd), right: true },
  { title: 'DIFFER', value: ({ rows }) => String(rows), right: true },
  { title: 'NOT READ', value: ({ gaps }) => String(notRead(gaps)), right: true },
];

async function printEnd(totals: readonly DriftTotal[], end: DriftEnd): Promise<void> {
  if (totals.length > 0) for (const line of table(totals, TOTALS)) await print(line);
  for (const { account, gaps } of totals) {
    for (const { count, ledger_usd: usd, reason } of gaps) {
      await print(`  ${account}: ${count} not read (${usdOrDash(usd)}): ${harmless(reason)}`);
    }
  }
  await print(verdict(totals, end));
}

function verdict(totals: readonly DriftTotal[], { state, calls }: DriftEnd): string {
  const sum = (of: (total: DriftTotal) => number) => totals.reduce((all, total) => all + of(total), 0);
  const unread = sum(({ gaps }) => notRead(gaps));
  const ledger = usdOrDash(sum(({ ledger_usd: usd }) => usd));
  if (state === 'equal') return `Equal: ${calls} calls, ${ledger} in the ledger and at the vendor.`;
  const also = unread > 0 ? `; ${unread} could not be read` : '';
  if (state === 'differs') {
    const vendor = usdOrDash(sum(({ vendor_usd: usd }) => usd));
    return `Not equal: ${sum(({ rows }) => rows)} differ, ${ledger} in the ledger and ${vendor} at the vendor${also}.`;
  }
  return `Could not be read: ${unread} of it. What could be is equal: ${ledger}.`;
}

function notRead(gaps: DriftTotal['gaps']): number {
  return gaps.reduce((sum, { count }) => sum + count, 0);
}

function usdOrDash(usd: number | null): string {
  return usd === null ? '-' : formatUsd(micros(usd));
}
