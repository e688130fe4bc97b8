/** `keybrake audit prune`: retention of the audit log. */
import { type Command, InvalidArgumentError } from 'commander';
import ms from 'ms';
import type { KeybrakeClient } from '../../proxy/client';
import { nothingPruned, PRUNED_KINDS, type PruneQuery, type PruneView } from '../../proxy/retention';
import { withProxy } from './connect';
import { fields, print, printJson, tell } from './output';

interface PruneFlags {
  readonly olderThan: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

/** Adds `prune` to `audit`. */
export function addPrune(audit: Command): void {
  audit
    .command('prune')
    .description('Remove old rows that no second charge depends on: refused, replayed and released calls, old events.')
    .requiredOption('--older-than <age>', 'only what ended longer ago, e.g. 90d; at least 1d', parseAge)
    .option('--dry-run', 'only count what would be removed')
    .option('--json', 'print JSON')
    .addHelpText('after', HELP)
    .action(prune);
}

const HELP = `
Stays, whatever its age: calls that were executed, or whose outcome is unknown (they prevent a second charge); keys,
jobs and their totals; and every row of a key that is alive, or of a job with such a key.
It may be stopped at any time and run again, also while the proxy is busy.

Examples:
  keybrake audit prune --older-than 90d --dry-run
  keybrake audit --csv > audit.csv && keybrake audit prune --older-than 90d`;

function parseAge(text: string): string {
  const age = /^\d+(\.\d+)? ?[a-z]+$/i.test(text) ? ms(text as ms.StringValue) : undefined;
  if (age === undefined || !(age >= ms('1d')))
    throw new InvalidArgumentError('Give an age of at least a day, e.g. 90d.');
  return text;
}

async function prune({ olderThan, dryRun = false, json }: PruneFlags): Promise<void> {
  const pruned = await withProxy((client) => pruneAll(client, { older_than: olderThan, dry_run: dryRun }));
  if (json === true) return printJson(pruned);
  for (const line of describe(pruned)) await print(line);
}

type Pruned = Omit<PruneView, 'next_cursor'>;

/** One request after the other until nothing is left. */
async function pruneAll(client: KeybrakeClient, query: PruneQuery): Promise<Pruned> {
  const removed = nothingPruned();
  let kept = 0;
  let cursor: string | null = null;
  for (;;) {
    const page: PruneView = await client.pruneCalls({ ...query, ...(cursor !== null && { cursor }) });
    for (const name of [...PRUNED_KINDS, 'claims'] as const) removed[name] += page.removed[name];
    kept += page.kept_for_live_keys;
    cursor = page.next_cursor;
    if (cursor === null) {
      return { ended_before: page.ended_before, dry_run: page.dry_run, removed, kept_for_live_keys: kept };
    }
    tell(`${Object.values(removed).reduce((sum, count) => sum + count, 0)} rows so far`);
  }
}

const NAMES: Readonly<Record<keyof Pruned['removed'], string>> = {
  refused: 'refused calls',
  replayed: 'replayed calls',
  released: 'released calls',
  claims: 'their idempotency keys, which were free already',
  settled: 'settled calls without an idempotency key or a vendor id, such as lists that were read',
  late_prices: 'late prices that are settled',
  refusal_counters: 'refusal counters of dead keys',
  events: 'events',
};

function describe({ ended_before: before, dry_run: dryRun, removed, kept_for_live_keys: kept }: Pruned): string[] {
  const names = Object.keys(NAMES) as (keyof typeof NAMES)[];
  const shown = names.filter((name) => removed[name] > 0);
  const stayed = kept === 0 ? [] : [`${kept} rows stay, because their key or another key of their job is alive.`];
  if (shown.length === 0) return [`Nothing that ended before ${before} may be removed.`, ...stayed];
  return [
    `${dryRun ? 'Would be removed' : 'Removed'}, of what ended before ${before}:`,
    ...fields(shown.map((name) => [String(removed[name]), NAMES[name]])),
    ...stayed,
  ];
}
