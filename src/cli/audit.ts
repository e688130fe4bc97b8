/** `keybrake audit`: the audit log, streamed; with `--reconcile` the vendor's word against it. */
import type { Command } from 'commander';
import { activityIdFor } from '../../activities/recordKeys';
import type { CallFilter } from '../../proxy/client';
import { type CallState, type CallView, CALL_STATES, formatUsd } from '../../proxy/contract';
import { choice } from './choice';
import { addPrune } from './prune';
import { withProxy } from './connect';
import { reconcile } from './drift';
import { CliError } from './errors';
import { type Column, print, printJson, printRows, tell } from './output';
import { micros, parseUsd } from './parse';

interface AuditFlags {
  readonly label?: string;
  readonly job?: string;
  readonly key?: string;
  readonly state?: CallState;
  readonly record?: string;
  readonly vendorId?: string;
  readonly json?: boolean;
  readonly csv?: boolean;
  readonly reconcile?: boolean;
}

interface ResolveFlags {
  readonly settled?: number;
  readonly released?: boolean;
  readonly vendorId?: string;
  readonly json?: boolean;
}

/** Adds `audit` and `resolve`. */
export function addAudit(program: Command): void {
  const audit = program
    .command('audit')
    .enablePositionalOptions()
    .description('Every call: what it cost, what it came to, who made it. Oldest first.')
    .option('--label <label>', 'only calls of this run label')
    .option('--job <id>', 'only calls of this job')
    .option('--key <key-id>', 'only calls of this key')
    .addOption(choice('--state <state>', 'only calls in this state', CALL_STATES))
    .option('--record <id>', 'only calls of this record')
    .option('--vendor-id <id>', 'only the calls that made this vendor object, e.g. pi_…')
    .option('--json', 'print NDJSON, one call a line')
    .option('--csv', 'print CSV')
    .option('--reconcile', "compare the vendor's own total for a run with the ledger's")
    .addHelpText('after', AUDIT_EXAMPLES)
    .action(list);
  addPrune(audit);
  program
    .command('resolve')
    .description("An operator's word on a call whose outcome is unknown. Look it up at the vendor first.")
    .argument('<call-id>', 'the call, from keybrake audit --state unknown')
    .option('--settled <usd>', 'the vendor executed it, for this much', parseUsd)
    .option('--released', 'the vendor did not execute it')
    .option('--vendor-id <id>', "the vendor's id of what it made")
    .option('--json', 'print JSON')
    .action(resolve);
}

const AUDIT_EXAMPLES = `
Examples:
  keybrake audit --label billing/2026-11-24
  keybrake audit --job billing-2026-11-24 --csv > audit.csv
  keybrake audit --state unknown --json | jq -r .call_id
  keybrake audit --job billing-2026-11-24 --reconcile

--reconcile takes --label, --job or --key, once the run has ended, and KEYBRAKE_API_KEY. The proxy reads at the vendor
every object that the run's settled calls name, and what its account made in the time of the run, as fast as the
account's pace allows. It changes nothing. Rows are what differs:
  value        the vendor counts another amount: captured, canceled or failed behind the proxy's back
  price        a price that came after the ledger's last look
  refund       money back that the ledger does not know
  gone         the vendor does not know the object
  unaccounted  made in the time of the run, by no call of any key
  unknown      the outcome of the call is not known
Exit code 0: equal. 1: not equal. 2: nothing differs in what could be read, but not all could be; or
nothing could be: no run was named, no proxy answered.`;

async function list(flags: AuditFlags): Promise<void> {
  const filter = toFilter(flags);
  if (flags.reconcile === true) return reconcile(filter, flags);
  if (flags.json === true && flags.csv === true) throw new CliError('Choose --json or --csv, not both.');
  await withProxy(async (client) => {
    if (flags.json === true || flags.csv === true) {
      const chunks = await client.exportCalls(filter, flags.csv === true ? 'text/csv' : 'application/x-ndjson');
      for await (const chunk of chunks) await pass(chunk);
      return;
    }
    const rows = await printRows(client.streamCalls(filter), COLUMNS);
    tell(rows === 0 ? 'No calls.' : `${rows} calls`);
  });
}

function toFilter(flags: AuditFlags): CallFilter {
  return {
    ...(flags.label !== undefined && { label: flags.label }),
    ...(flags.job !== undefined && { job_id: flags.job }),
    ...(flags.key !== undefined && { key_id: flags.key }),
    ...(flags.state !== undefined && { state: flags.state }),
    ...(flags.record !== undefined && { record_id: activityIdFor(flags.record) }),
    ...(flags.vendorId !== undefined && { vendor_id: flags.vendorId }),
  };
}

function pass(chunk: Buffer): Promise<void> {
  return new Promise((resolved, rejected) => {
    process.stdout.write(chunk, (error) => (error ? rejected(error) : resolved()));
  });
}

const COLUMNS: readonly Column<CallView>[] = [
  { title: 'TIME', value: (call) => call.created_at.slice(0, 19) },
  { title: 'STATE', value: (call) => call.state },
  { title: 'COST', value: (call) => costOf(call), right: true },
  { title: 'RECORD', value: (call) => call.record_id ?? '-', widthMax: 40 },
  { title: 'CALL', value: (call) => `${call.method} ${call.path}`, widthMax: 80 },
  { title: 'VENDOR ID', value: (call) => call.vendor_id ?? '-', widthMax: 40 },
  { title: 'CODE', value: (call) => call.code ?? '-', widthMax: 30 },
  { title: 'CALL ID', value: (call) => call.call_id },
];

/** What it cost, or in brackets what is held for it. */
function costOf({ state, cost_usd: cost, quote_usd: quote }: CallView): string {
  if (cost !== null) return formatUsd(micros(cost));
  return state === 'held' || state === 'unknown' ? `(${formatUsd(micros(quote))})` : '-';
}

async function resolve(callId: string, flags: ResolveFlags): Promise<void> {
  if ((flags.settled === undefined) === (flags.released !== true)) {
    throw new CliError('Say what it came to: --settled USD or --released.');
  }
  const body =
    flags.settled === undefined
      ? { outcome: 'released' as const }
      : {
          outcome: 'settled' as const,
          usd: flags.settled,
          ...(flags.vendorId !== undefined && { vendor_id: flags.vendorId }),
        };
  const call = await withProxy((client) => client.resolveCall(callId, body));
  if (flags.json === true) return printJson(call);
  await print(`${call.call_id} is ${call.state}${call.cost_usd === null ? '' : `: ${costOf(call)}`}.`);
}
