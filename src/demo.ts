/**
 * `npm run demo`: the main job from end to end, on a real Temporal dev server, the real proxy and a Stripe stand-in.
 * A customers file of 1,200 lines, of which the last 1,000 should not be there; a cap in the middle of them; the run
 * stops at the cap; the cap is raised; a second run of the same job finishes. Exits 0 only if every check holds.
 */
import { rmSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection, type WorkflowHandle } from '@temporalio/client';
import { formatUsd } from '../proxy/contract';
import type { RunStatusView } from '../workflows/definitions';
import { DEFAULT_TASK_QUEUE, type RunReport } from '../activities/contract/plan';
import { EXIT_AT } from './cli/exitCodes';
import { startProgress } from './cli/progress';
import { describeReport } from './cli/report';
import { type DevStack, startDevStack } from './devStack';
import { createLogger } from '../proxy/log';
import { type Finding, scanFile, scanHistory } from './testing/scan';
import { installTemporalRuntime } from './worker';

const DUE = 200;
const NOT_YET_DUE = 1_000;
const CAP_USD = 1_500;
const RAISED_USD = 5_000;
const LABEL = 'billing/november';
const JOB = 'billing-november';
const ENDPOINT = 'POST /v1/payment_intents';

async function main(): Promise<void> {
  const startedAt = Date.now();
  const folder = await mkdtemp(join(tmpdir(), 'keybrake-demo-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  for (const [signal, code] of Object.entries(EXIT_AT)) process.once(signal, () => process.exit(code));
  try {
    const checks = new Checks();
    const leaks = await tellStory(folder, checks);
    checks.that("no vault key and no secret is in the histories, the ledger or Temporal's database", leaks === 0);
    const seconds = ((Date.now() - startedAt) / 1_000).toFixed(0);
    say(
      '',
      checks.failed === 0 ? `All ${checks.passed} checks hold, after ${seconds} s.` : `${checks.failed} checks FAILED.`,
    );
    process.exitCode = checks.failed === 0 ? 0 : 1;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The whole story. Answers how many leaks were found. */
async function tellStory(folder: string, checks: Checks): Promise<number> {
  const customers = await writeCustomers(join(folder, 'customers.jsonl'));
  say(
    `customers.jsonl has ${DUE + NOT_YET_DUE} lines. ${DUE} customers are due, for about $500 in all. An export mistake`,
    `appended the ${NOT_YET_DUE} of next month. Nobody has noticed; the cap is ${usd(CAP_USD)}.`,
    '',
    'Starting Temporal, a stand-in for Stripe, the Keybrake proxy and a worker …',
  );
  const logger = createLogger({ level: 'error' });
  installTemporalRuntime(logger);
  const stack = await startDevStack({
    logger,
    sourceDir: folder,
    store: `sqlite:${join(folder, 'keybrake.db')}`,
    temporal: { dbFilename: join(folder, 'temporal.db') },
  });
  const connection = await Connection.connect({ address: stack.temporal.address });
  const temporal = new Client({ connection });
  let findings: readonly Finding[] = [];
  try {
    await firstRun(stack, temporal, checks);
    await secondRun(stack, temporal, checks, customers);
    findings = await scanHistories(temporal, stack.secrets);
  } finally {
    await connection.close();
    await stack.stop();
  }
  say('');
  return findings.length + (await leaksInFiles(folder, stack.secrets, checks));
}

interface Customer {
  readonly id: string;
  readonly amount_cents: number;
}

async function writeCustomers(path: string): Promise<readonly Customer[]> {
  const customers = Array.from({ length: DUE + NOT_YET_DUE }, (_, index) => ({
    id: `cus_demo_${String(index + 1).padStart(4, '0')}`,
    amount_cents: 200 + ((index * 37) % 101),
  }));
  await writeFile(path, customers.map((customer) => `${JSON.stringify(customer)}\n`).join(''));
  return customers;
}

async function firstRun(stack: DevStack, temporal: Client, checks: Checks): Promise<void> {
  const handle = await startRun(temporal, 'first');
  const keyId = await keyOf(handle);
  // Like an attacker would: the vault key itself, taken while it is alive, to be tried when it should be dead.
  const { vault_key: vaultKey } = await stack.client.tokenFor(keyId);
  const report = await resultOf(handle, stack);
  say('', '--- first run', ...describeReport(handle.workflowId, report));

  const vendor = vendorCount(stack);
  say(`  vendor   ${vendor.charges} charges, ${usd(vendor.usd)}`, '');
  const settled = report.spend?.settled_usd ?? -1;
  checks.that('the run stopped at its cap', report.status === 'cap_exhausted');
  checks.that(`the vendor charged no more than the cap (${usd(vendor.usd)} of ${usd(CAP_USD)})`, vendor.usd <= CAP_USD);
  checks.that('the cap was used up to the last charge that fits', CAP_USD - vendor.usd < 3);
  checks.that('the report and the vendor agree to the cent', cents(settled) === cents(vendor.usd));
  checks.that('the report counts what the vendor executed', report.records.succeeded === vendor.charges);
  checks.that('every line of the file is accounted for', isComplete(report));
  checks.that('no call is left held or unknown', report.spend?.held_usd === 0 && report.spend.unknown_usd === 0);

  const { state } = await stack.client.getKey(keyId);
  const reply = await chargeWith(stack, vaultKey);
  checks.that('the key is revoked', state === 'revoked');
  checks.that(`the vault key itself is dead: ${reply}`, reply === '401 key_revoked');
  checks.that('the dead key moved no money', vendorCount(stack).usd === vendor.usd);
}

async function secondRun(
  stack: DevStack,
  temporal: Client,
  checks: Checks,
  customers: readonly Customer[],
): Promise<void> {
  say(
    '',
    'Billing looks at the report: the later lines may be charged early after all. So:',
    `  keybrake raise --job ${JOB} --to ${RAISED_USD}      and the same run again`,
  );
  const before = vendorCount(stack);
  await stack.client.patchJob(JOB, { usd_cap: RAISED_USD });
  const handle = await startRun(temporal, 'second');
  const report = await resultOf(handle, stack);
  say('', '--- second run', ...describeReport(handle.workflowId, report));

  const vendor = vendorCount(stack);
  say(`  vendor   ${vendor.charges} charges, ${usd(vendor.usd)}, over both runs`, '');
  const due = customers.reduce((sum, customer) => sum + customer.amount_cents, 0);
  const { replayed, succeeded } = report.records;
  checks.that('the second run completed', report.status === 'completed');
  checks.that(`what was charged before was not charged again (${replayed} replayed)`, replayed === before.charges);
  checks.that('the rest was charged', succeeded === customers.length - before.charges);
  checks.that('the vendor has one charge for each customer', vendor.charges === customers.length && vendor.twice === 0);
  checks.that(`each for the amount in the file (${usd(due / 100)})`, cents(vendor.usd) === due);
  checks.that(
    'the job and the vendor agree to the cent',
    cents(report.jobSpend?.settled_usd ?? -1) === cents(vendor.usd),
  );
}

function startRun(temporal: Client, name: string): Promise<WorkflowHandle> {
  const input = {
    label: LABEL,
    jobId: JOB,
    source: { kind: 'jsonl', path: 'customers.jsonl' },
    recordId: 'id',
    call: {
      endpoint: ENDPOINT,
      params: { amount: '{{amount_cents}}', currency: 'usd', customer: '{{id}}', confirm: 'true' },
    },
    key: { vendor: 'stripe', usdCap: CAP_USD, allowedEndpoints: [ENDPOINT], ttl: '1h' },
    concurrency: 50,
  };
  return temporal.workflow.start('pipelineRun', {
    workflowId: `${JOB}-${name}`,
    taskQueue: DEFAULT_TASK_QUEUE,
    args: [input],
  });
}

/** Waits for the report, with a progress bar where there is a terminal. */
async function resultOf(handle: WorkflowHandle, { client }: DevStack): Promise<RunReport> {
  const progress = startProgress(async (keyId) => (await client.getKey(keyId)).spend);
  const ended = new AbortController();
  const following = progress.follow(handle, handle.workflowId, ended.signal);
  try {
    return (await handle.result()) as RunReport;
  } finally {
    ended.abort();
    await following;
    progress.stop();
  }
}

async function keyOf(handle: WorkflowHandle): Promise<string> {
  for (let tries = 0; tries < 600; tries += 1) {
    const { keyId } = await handle.query<RunStatusView>('status');
    if (keyId !== null) return keyId;
    await sleep(50);
  }
  throw new Error('the run has issued no key');
}

/** One more charge with a vault key: the status and the code of the answer. */
async function chargeWith({ proxy }: DevStack, vaultKey: string): Promise<string> {
  const reply = await fetch(`${proxy.url}/stripe/v1/payment_intents`, {
    method: 'POST',
    headers: { authorization: `Bearer ${vaultKey}`, 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ amount: '100', currency: 'usd', customer: 'cus_demo_9999', confirm: 'true' }),
  });
  const { error } = (await reply.json()) as { error?: { code?: string } };
  return `${reply.status} ${error?.code ?? 'charged'}`;
}

/** What the vendor itself says it has executed. */
function vendorCount({ sandbox }: DevStack): { charges: number; usd: number; twice: number } {
  const stripe = sandbox?.stats().stripe;
  if (stripe === undefined) throw new Error('the demo runs on the sandbox');
  const { keys, customers } = stripe.duplicates;
  return { charges: stripe.executedCharges, usd: stripe.chargedUsd, twice: keys.length + customers.length };
}

function isComplete({ records: { total, ...counts } }: RunReport): boolean {
  return total === DUE + NOT_YET_DUE && Object.values(counts).reduce((sum, count) => sum + count, 0) === total;
}

/** The histories of both runs and of all their shards. */
async function scanHistories(temporal: Client, secrets: readonly string[]): Promise<Finding[]> {
  const findings: Finding[] = [];
  for await (const { workflowId, runId } of temporal.workflow.list()) {
    const history = await temporal.workflow.getHandle(workflowId, runId).fetchHistory();
    findings.push(...scanHistory(history, { secrets }));
  }
  return findings;
}

async function leaksInFiles(folder: string, secrets: readonly string[], checks: Checks): Promise<number> {
  let leaks = 0;
  for (const name of await readdir(folder)) leaks += (await scanFile(join(folder, name), { secrets })).length;
  // A search that finds nothing must show that it can: the label is in both databases.
  const label = { secrets: [LABEL] };
  const seen = await Promise.all(['keybrake.db', 'temporal.db'].map((name) => scanFile(join(folder, name), label)));
  checks.that(
    'the search for leaks sees what is in the databases',
    seen.every((found) => found.length > 0),
  );
  return leaks;
}

/** What must hold, told as it is found. */
class Checks {
  passed = 0;
  failed = 0;

  that(what: string, holds: boolean): void {
    if (holds) this.passed += 1;
    else this.failed += 1;
    say(`  ${holds ? '✓' : '✗ NOT TRUE:'} ${what}`);
  }
}

function say(...lines: readonly string[]): void {
  for (const line of lines) process.stdout.write(`${line}\n`);
}

function usd(amount: number): string {
  return formatUsd(Math.round(amount * 1_000_000));
}

function cents(amount: number): number {
  return Math.round(amount * 100);
}

main().catch((error: unknown) => {
  process.stderr.write(`demo: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exit(1);
});
