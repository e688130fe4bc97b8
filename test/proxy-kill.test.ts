/** The proxy as a process that is killed: what it promised before, holds after. */
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KeybrakeClient } from '../proxy/client';
import { openSqlite } from '../proxy/stores/sqlite';
import { type Sandbox, startSandbox } from '../src/sandbox';
import { type Running, start } from './support/cli';
import { type Answer, balanced, books, callerOf, FIVE_DOLLARS, keyBody, parallel, tally } from './support/rig';

const SECRET = 'sk_test_killed_0123456789';
const ADMIN = 'kb_admin_0123456789abcdef';
const RECORDS = 300;
const PARALLEL = 60;
/** Money for 200 of the records. */
const CAP_USD = 1_000;
const KILLS = 5;
/** Answers of one life of the proxy before it is killed. */
const ANSWERS_A_LIFE = 30;

let sandbox: Sandbox;
let folder: string;
beforeEach(async () => {
  sandbox = await startSandbox({ secretKey: SECRET, delayMs: 30 });
  folder = mkdtempSync(join(tmpdir(), 'keybrake-kill-'));
});
afterEach(async () => {
  await sandbox.stop();
  rmSync(folder, { recursive: true });
});

function launch(port = 0, env: Readonly<Record<string, string>> = {}): Running {
  return start(['proxy', '--port', String(port), '--store', `sqlite:${join(folder, 'ledger.db')}`], {
    cwd: folder,
    env: {
      KEYBRAKE_API_KEY: ADMIN,
      STRIPE_SECRET_KEY: SECRET,
      KEYBRAKE_STRIPE_UPSTREAM: sandbox.url,
      KEYBRAKE_LOG_LEVEL: 'warn',
      ...env,
    },
  });
}

async function urlOf(proxy: Running): Promise<string> {
  return (await proxy.said(/proxy on (http:\S+)/))[1] ?? '';
}

async function stop(proxy: Running, signal: 'SIGKILL' | 'SIGTERM' = 'SIGTERM'): Promise<number | null> {
  proxy.child.kill(signal);
  return (await proxy.ended).code;
}

test('killed five times in the middle of a burst: never above the cap, none twice, and every unknown call is resolved by its own retry', async () => {
  let proxy = launch();
  const url = await urlOf(proxy);
  const port = Number(new URL(url).port);
  const client = new KeybrakeClient({ url, apiKey: ADMIN });
  const caller = callerOf(url, PARALLEL);
  const key = await client.issueKey(keyBody({ usd_cap: CAP_USD }));

  let answers = 0;
  let kills = 0;
  let unknownUsd = 0;
  let rising: Promise<void> | undefined;

  /** Kills the proxy and starts it on the same ledger and port. */
  const killAndRestart = async (): Promise<void> => {
    kills += 1;
    await stop(proxy, 'SIGKILL');
    proxy = launch(port);
    await urlOf(proxy);
    const { spend } = await client.getKey(key.key_id);
    expect(spend.settled_usd + spend.held_usd + spend.unknown_usd).toBeLessThanOrEqual(CAP_USD);
    unknownUsd += spend.unknown_usd;
    answers = 0;
    rising = undefined;
  };

  const oneAnswer = async (record: number): Promise<Answer | undefined> => {
    await rising;
    try {
      const body = `${FIVE_DOLLARS}&customer=cus_${record}`;
      const answer = await caller.call(key.vault_key, { body, key: `job:${record}` });
      answers += 1;
      if (answers >= ANSWERS_A_LIFE && kills < KILLS && rising === undefined) rising = killAndRestart();
      return answer;
    } catch {
      // The connection was cut by the kill, or refused before the next life: repeat with the same key.
      rising ??= new Promise((resolve) => setTimeout(resolve, 20)).then(() => (rising = undefined));
      return undefined;
    }
  };
  const untilEnded = async (record: number): Promise<Answer> => {
    for (;;) {
      const answer = await oneAnswer(record);
      const again = ['outcome_unknown', 'idempotency_in_progress', 'budget_busy'].includes(answer?.code ?? '');
      if (answer !== undefined && !again) return answer;
    }
  };

  const ended = await parallel(RECORDS, PARALLEL, untilEnded);
  expect({ kills, callsWereInFlight: unknownUsd > 0 }).toEqual({ kills: KILLS, callsWereInFlight: true });
  const paid = CAP_USD / 5;
  expect(tally(ended)).toEqual({ '200': paid, '429 cap_exhausted': RECORDS - paid });
  expect(await books({ client, sandbox }, key.key_id)).toEqual(balanced(paid, CAP_USD));
  expect((await client.getKey(key.key_id)).spend.calls).toMatchObject({ held: 0, unknown: 0, settled: paid });

  await caller.close();
  await client.close();
  expect(await stop(proxy)).toBe(0);
});

test('calls of a killed process stay held as unknown until an operator says what became of them', async () => {
  sandbox.setFaults({ delayMs: 60_000 });
  const proxy = launch();
  const url = await urlOf(proxy);
  const client = new KeybrakeClient({ url, apiKey: ADMIN });
  const key = await client.issueKey(keyBody({ usd_cap: 10 }));
  const caller = callerOf(url);
  const cut = [caller.call(key.vault_key, { key: 'a' }), caller.call(key.vault_key, { key: 'b' })];
  const settled = Promise.allSettled(cut);
  while (sandbox.requests().length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
  await stop(proxy, 'SIGKILL');
  expect((await settled).map(({ status }) => status)).toEqual(['rejected', 'rejected']);

  const next = launch(Number(new URL(url).port));
  await urlOf(next);
  expect((await client.getKey(key.key_id)).spend).toMatchObject({ unknown_usd: 10, held_usd: 0, remaining_usd: 0 });
  expect(tally([await caller.call(key.vault_key, { key: 'c' })])).toEqual({ '429 cap_exhausted': 1 });
  // The proxy looks them up; it sends nothing.
  expect(sandbox.requests().filter(({ method }) => method === 'POST')).toHaveLength(2);

  // The old process is known to be dead, so nobody has to wait for its time-outs.
  const { items: lost } = await client.listCalls({ key_id: key.key_id, state: 'unknown' });
  const idOf = (name: string) => lost.find(({ idempotency_key: of }) => of === name)!.call_id;
  await client.resolveCall(idOf('a'), { outcome: 'settled', usd: 4.5, vendor_id: 'pi_seen' });
  await client.resolveCall(idOf('b'), { outcome: 'released' });
  const sums = { settled_usd: 4.5, held_usd: 0, unknown_usd: 0, remaining_usd: 5.5 };
  expect((await client.getKey(key.key_id)).spend).toMatchObject(sums);
  // What was executed is not executed again by a late retry; what never happened may be.
  sandbox.reset();
  const late = await caller.call(key.vault_key, { key: 'a' });
  expect([late.status, late.code]).toEqual([409, 'already_executed']);
  expect(late.json.error.message).toContain('pi_seen, $4.50');
  expect((await caller.call(key.vault_key, { key: 'b' })).status).toBe(200);
  expect(sandbox.stats().stripe.executedCharges).toBe(1);
  await client.close();
  await caller.close();
  await stop(next);
});

test('a second process on the same ledger does not start, says why, and leaves the first alone', async () => {
  const first = launch();
  const client = new KeybrakeClient({ url: await urlOf(first), apiKey: ADMIN });
  const key = await client.issueKey(keyBody({ usd_cap: 10 }));
  const { code, stderr } = await launch().ended;
  expect(code).toBe(1);
  expect(stderr).toMatch(/ledger\.db is open in another process/);
  expect(stderr).not.toMatch(/^\s+at /m);
  expect((await client.getKey(key.key_id)).state).toBe('active');
  await client.close();
  expect(await stop(first)).toBe(0);
});

test('a master key that does not fit the ledger stops the start; the one it was made with still opens it', async () => {
  const right = { KEYBRAKE_MASTER_KEY: 'the master key that this ledger was made with' };
  const wrong = { KEYBRAKE_MASTER_KEY: 'another master key which is as long as the right one' };
  const first = launch(0, right);
  const client = new KeybrakeClient({ url: await urlOf(first), apiKey: ADMIN });
  const key = await client.issueKey(keyBody({ usd_cap: 10 }));
  await client.close();
  await stop(first);

  const refused = await launch(0, wrong).ended;
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/KEYBRAKE_MASTER_KEY does not fit this ledger/);
  expect(refused.stdout + refused.stderr).not.toContain(wrong.KEYBRAKE_MASTER_KEY);

  const rotated = { KEYBRAKE_MASTER_KEY: `${wrong.KEYBRAKE_MASTER_KEY},${right.KEYBRAKE_MASTER_KEY}` };
  for (const env of [right, rotated]) {
    const again = launch(0, env);
    const caller = callerOf(await urlOf(again));
    expect((await caller.call(key.vault_key, { key: 'same' })).status).toBe(200);
    await caller.close();
    await stop(again);
  }
  expect(sandbox.stats().stripe.executedCharges).toBe(1);
});

test('an answer under a master key that is no longer given is gone: the retry hears that the call was executed', async () => {
  const [older, newer] = ['the master key that the answer is sealed under', 'the one that took its place too early'];
  for (const masterKeys of [older, `${newer},${older}`, newer]) {
    const proxy = launch(0, { KEYBRAKE_MASTER_KEY: masterKeys });
    const url = await urlOf(proxy);
    const client = new KeybrakeClient({ url, apiKey: ADMIN });
    const key = await client.issueKey(keyBody({ usd_cap: 10, job_id: 'rotated' }));
    const caller = callerOf(url);
    const { status, code } = await caller.call(key.vault_key, { key: 'same' });
    expect([status, code]).toEqual(masterKeys === newer ? [409, 'already_executed'] : [200, undefined]);
    await Promise.all([caller.close(), client.close()]);
    await stop(proxy);
  }
  expect(sandbox.stats().stripe.executedCharges).toBe(1);
});

test('a ledger whose master key file is gone does not start, names the file, and gets no other one', async () => {
  const [file, kept] = [join(folder, 'ledger.db.keys'), join(folder, 'kept')];
  const first = launch();
  await urlOf(first);
  await stop(first);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  copyFileSync(file, kept);
  rmSync(file);
  const before = readdirSync(folder).toSorted();
  const { code, stderr } = await launch().ended;
  expect(code).toBe(1);
  expect(stderr).toContain(`its master key file ${file} is not, and KEYBRAKE_MASTER_KEY is not set: restore the file`);
  expect(stderr.trim().split('\n')).toHaveLength(1);
  expect(readdirSync(folder).toSorted()).toEqual(before);

  writeFileSync(file, 'a key which is another one than that of the ledger');
  const other = await launch().ended;
  expect(other.stderr).toContain(`The master key file ${file} does not fit this ledger`);
  rmSync(file);

  const given = launch(0, { KEYBRAKE_MASTER_KEY: readFileSync(kept, 'utf8') });
  await urlOf(given);
  await stop(given);
  copyFileSync(kept, file);
  const restored = launch();
  await urlOf(restored);
  await stop(restored);
});

test('a start that ended before the ledger had its key leaves a new ledger: the next one makes the key', async () => {
  await openSqlite(join(folder, 'ledger.db')).close();
  const proxy = launch();
  await urlOf(proxy);
  expect(readdirSync(folder)).toContain('ledger.db.keys');
  await stop(proxy);
});

test('SIGTERM lets calls in flight finish and settle, and then ends at once, whoever keeps a connection open', async () => {
  sandbox.setFaults({ delayMs: 300 });
  const proxy = launch();
  const url = await urlOf(proxy);
  const client = new KeybrakeClient({ url, apiKey: ADMIN });
  const key = await client.issueKey(keyBody({ usd_cap: 100 }));
  await client.close();
  // As load balancers open them, long before a request.
  const silent = connect(Number(new URL(url).port), '127.0.0.1').on('error', () => undefined);
  await once(silent, 'connect');
  // One that died in the middle of its body, for all that anybody can tell.
  const half = connect(Number(new URL(url).port), '127.0.0.1').on('error', () => undefined);
  half.write('POST /stripe/v1/payment_intents HTTP/1.1\r\nHost: proxy\r\nContent-Length: 100\r\n\r\namount=');
  const caller = callerOf(url);
  const calls = parallel(10, 10, (index) => caller.call(key.vault_key, { key: `job:${index}` }));
  while (sandbox.requests().length < 10) await new Promise((resolve) => setTimeout(resolve, 10));
  const code = stop(proxy);
  expect(tally(await calls)).toEqual({ '200': 10 });
  const answeredAt = Date.now();
  expect(await code).toBe(0);
  expect(Date.now() - answeredAt).toBeLessThan(5_000);
  await caller.close();

  const next = launch();
  const reader = new KeybrakeClient({ url: await urlOf(next), apiKey: ADMIN });
  expect(await books({ client: reader, sandbox }, key.key_id)).toEqual(balanced(10, 50));
  await reader.close();
  await stop(next);
});
