/** `keybrake keys`: issue, list and inspect vault keys. */
import type { Command } from 'commander';
import { type IssueKeyBody, type KeyState, type KeyView, KEY_STATES, formatUsd } from '../../proxy/contract';
import type { VendorId } from '../../proxy/contract';
import { withProxy } from './connect';
import { type Column, fields, harmless, print, printJson, table, tell } from './output';
import { collect, micros, parseCount, parsePairs, parseRates, parseUsd } from './parse';
import { choice } from './choice';
import { describeCalls } from './report';

interface ListFlags {
  readonly label?: string;
  readonly job?: string;
  readonly state?: KeyState;
  readonly limit: number;
  readonly json?: boolean;
}

interface IssueFlags {
  readonly vendor?: VendorId;
  readonly label: string;
  readonly allow: readonly string[];
  readonly ttl: string;
  readonly cap?: number;
  readonly dailyCap?: number;
  readonly maxPerCall?: number;
  readonly job?: string;
  readonly account?: string;
  readonly parent?: string;
  readonly lease?: string;
  readonly fx: readonly string[];
  readonly metadata: readonly string[];
  readonly onCap?: 'latch' | 'refuse';
  readonly requireIdempotencyKey?: boolean;
  readonly json?: boolean;
}

/** Adds `keys list`, `keys issue` and `keys show`. */
export function addKeys(program: Command): void {
  const keys = program.command('keys').description('Issue, list and inspect vault keys.');
  keys
    .command('list', { isDefault: true })
    .description('Keys, newest first. This is the default.')
    .option('--label <label>', 'only those with this run label')
    .option('--job <id>', 'only those of this job')
    .addOption(choice('--state <state>', 'only those in this state', KEY_STATES))
    .option('--limit <n>', 'how many', parseCount, 50)
    .option('--json', 'print JSON')
    .action(list);
  keys
    .command('show')
    .description('One key: what it allows, and what it has spent.')
    .argument('<key-id>', 'key_…')
    .option('--json', 'print JSON')
    .action(show);
  addIssue(keys);
}

function addIssue(keys: Command): void {
  keys
    .command('issue')
    .description('Issue a vault key. It is printed once, on stdout.')
    .requiredOption('--label <label>', 'run label, e.g. billing/2026-11-24')
    .requiredOption('--allow <endpoint>', 'allowed endpoint, e.g. "POST /v1/payment_intents"; repeatable', collect, [])
    .requiredOption('--ttl <duration>', 'time to live, e.g. 4h')
    .option('--cap <usd>', 'dollar cap for the life of the key (or of its job)', parseUsd)
    .option('--daily-cap <usd>', 'dollar cap per UTC day', parseUsd)
    .option('--max-per-call <usd>', 'dollar cap of a single call', parseUsd)
    .option('--vendor <vendor>', 'stripe (default, or that of the parent), twilio, resend, or one of your own')
    .option('--account <name>', 'vendor account, as the proxy is configured')
    .option('--job <id>', 'job that owns the cap')
    .option('--parent <key-id>', 'parent key; the new one can never be wider')
    .option('--lease <duration>', 'the key lapses unless it is renewed this often')
    .option('--fx <currency=rate>', 'dollars per unit of a currency; repeatable', collect, [])
    .option('--metadata <name=value>', 'kept with the key; repeatable', collect, [])
    .addOption(choice('--on-cap <what>', 'at the cap: stop all new calls, or refuse one by one', ['latch', 'refuse']))
    .option('--require-idempotency-key', 'refuse paid calls without an Idempotency-Key')
    .option('--json', 'print JSON')
    .addHelpText('after', ISSUE_EXAMPLE)
    .action(issue);
}

const ISSUE_EXAMPLE = `
Example:
  export STRIPE_API_KEY=$(keybrake keys issue --label try --cap 20 --ttl 1h --allow "POST /v1/payment_intents")`;

async function list({ label, job, state, limit, json }: ListFlags): Promise<void> {
  const filter = {
    ...(label !== undefined && { label }),
    ...(job !== undefined && { job_id: job }),
    ...(state !== undefined && { state }),
  };
  const found = await withProxy(async (client) => {
    const items: KeyView[] = [];
    let cursor: string | null = null;
    do {
      const page = await client.listKeys({
        ...filter,
        limit: Math.min(1_000, limit - items.length),
        ...(cursor !== null && { cursor }),
      });
      items.push(...page.items);
      cursor = page.next_cursor;
    } while (cursor !== null && items.length < limit);
    return items;
  });
  if (json === true) return printJson(found);
  if (found.length === 0) return tell('No keys.');
  for (const line of table(found, COLUMNS)) await print(line);
}

const COLUMNS: readonly Column<KeyView>[] = [
  { title: 'KEY', value: (key) => key.key_id },
  { title: 'STATE', value: (key) => key.state },
  { title: 'SETTLED', value: (key) => formatUsd(micros(key.spend.settled_usd)), right: true },
  { title: 'HELD', value: (key) => formatUsd(micros(key.spend.held_usd)), right: true },
  { title: 'UNKNOWN', value: (key) => formatUsd(micros(key.spend.unknown_usd)), right: true },
  { title: 'CAP', value: (key) => capOf(key), right: true },
  { title: 'EXPIRES', value: (key) => key.expires_at },
  { title: 'LABEL', value: (key) => key.agent_run_label },
];

async function show(keyId: string, { json }: { readonly json?: boolean }): Promise<void> {
  const key = await withProxy((client) => client.getKey(keyId));
  if (json === true) return printJson(key);
  for (const line of describeKey(key)) await print(line);
}

/** A key in words, for `keys show` and `status`. */
export function describeKey(key: KeyView): string[] {
  const { spend } = key;
  const state = [
    key.state,
    key.exhausted_by && `by ${key.exhausted_by}`,
    key.revoke_reason && `(${harmless(key.revoke_reason)})`,
  ];
  return [
    `${key.key_id}  ${state.filter(Boolean).join(' ')}`,
    ...fields([
      ['label', key.agent_run_label],
      ['job', key.job_id],
      ['vendor', `${key.vendor}, account ${key.account}`],
      ['cap', capOf(key)],
      ['settled', formatUsd(micros(spend.settled_usd))],
      ['of it out', spend.out_usd > 0 ? formatUsd(micros(spend.out_usd)) : null],
      ['held', formatUsd(micros(spend.held_usd))],
      ['unknown', formatUsd(micros(spend.unknown_usd))],
      ['remaining', spend.remaining_usd === null ? null : formatUsd(micros(spend.remaining_usd))],
      ['calls', describeCalls(spend)],
      ['allowed', key.allowed_endpoints.join(', ')],
      ['expires', key.expires_at],
      ['lease until', key.lease_expires_at],
      ['revoked', key.revoked_at],
      ['parent', key.parent_key_id],
    ]),
  ];
}

function capOf(key: KeyView): string {
  const life = key.usd_cap === null ? null : formatUsd(micros(key.usd_cap));
  const day = key.daily_usd_cap === null ? null : `${formatUsd(micros(key.daily_usd_cap))} a day`;
  return [life, day].filter((cap) => cap !== null).join(', ') || 'none';
}

async function issue(flags: IssueFlags): Promise<void> {
  const issued = await withProxy((client) => client.issueKey(toBody(flags)));
  if (flags.json === true) return printJson(issued);
  tell(describeKey(issued).join('\n'));
  if (issued.account_id !== null) tell(`  Its account at the vendor, for the SDK: ${issued.account_id}`);
  tell(`  Point the vendor's SDK to ${issued.base_url}; its key is:`);
  await print(issued.vault_key);
}

function toBody(flags: IssueFlags): IssueKeyBody {
  const vendor = flags.vendor ?? (flags.parent === undefined ? 'stripe' : undefined);
  return {
    ...(vendor !== undefined && { vendor }),
    agent_run_label: flags.label,
    allowed_endpoints: flags.allow,
    expires_in: flags.ttl,
    ...(flags.cap !== undefined && { usd_cap: flags.cap }),
    ...(flags.dailyCap !== undefined && { daily_usd_cap: flags.dailyCap }),
    ...(flags.maxPerCall !== undefined && { max_usd_per_call: flags.maxPerCall }),
    ...(flags.job !== undefined && { job_id: flags.job }),
    ...(flags.account !== undefined && { account: flags.account }),
    ...(flags.parent !== undefined && { parent_key_id: flags.parent }),
    ...(flags.lease !== undefined && { lease: flags.lease }),
    ...(flags.fx.length > 0 && { fx: parseRates(flags.fx) }),
    ...(flags.metadata.length > 0 && { metadata: parsePairs('--metadata', flags.metadata) }),
    ...(flags.onCap !== undefined && { on_cap: flags.onCap }),
    ...(flags.requireIdempotencyKey === true && { require_idempotency_key: true }),
  };
}
