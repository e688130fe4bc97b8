/** Several proxies on one Postgres: together they keep every promise that one keeps alone. */
import { readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import pg from 'pg';
import { type Server, startCluster } from './support/postgres';
import { type Replica, type ReplicaRig, startReplicas } from './support/replicas';
import { type Answer, balanced, books, FIVE_DOLLARS, keyBody, parallel, tally, until } from './support/rig';

const CALLS = 600;
const PARALLEL = 300;
const PAID = 50;
const CAP_USD = PAID * 5;
/** What a client repeats with the same key, here at another replica. */
const AGAIN = new Set(['outcome_unknown', 'idempotency_in_progress', 'budget_busy', 'store_unavailable']);

let server: Server;
let rig: ReplicaRig;
beforeAll(async () => {
  server = await startCluster();
});
afterEach(() => rig.close());

const nth = (index: number): Replica => rig.replicas[index % rig.replicas.length]!;

/** Repeats a record at one replica after the other until it ends. */
async function untilEnded(vaultKey: string, record: number, look: (answer?: Answer) => void): Promise<Answer> {
  for (let tries = 0; ; tries += 1) {
    const body = `${FIVE_DOLLARS}&customer=cus_${record}`;
    const answer = await nth(record + tries)
      .call(vaultKey, { body, key: `job:${record}` })
      .catch(() => undefined);
    look(answer);
    if (answer !== undefined && !AGAIN.has(answer.code ?? '')) return answer;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test('ten times over: of 600 calls at once over three processes exactly the 50 that the cap allows are executed', async () => {
  rig = await startReplicas(server, 3);
  for (let round = 0; round < 10; round += 1) {
    const before = rig.sandbox.stats().stripe;
    const key = await nth(round).client.issueKey(keyBody({ usd_cap: CAP_USD }));
    const answers = await parallel(CALLS, PARALLEL, (index) =>
      nth(index).call(key.vault_key, { key: `round-${round}:${index}` }),
    );
    const after = rig.sandbox.stats().stripe;
    const { '200': paid, '429 cap_exhausted': refused = 0, '429 budget_busy': busy = 0, ...other } = tally(answers);
    expect({ paid, ended: (paid ?? 0) + refused + busy, other }).toEqual({ paid: PAID, ended: CALLS, other: {} });
    expect(after.executedCharges - before.executedCharges).toBe(PAID);
    expect((await nth(round + 1).client.getKey(key.key_id)).spend).toMatchObject({
      settled_usd: CAP_USD,
      held_usd: 0,
      unknown_usd: 0,
    });
  }
  expect(rig.sandbox.stats().stripe.duplicates.keys).toEqual([]);
}, 180_000);

test('one process is killed in the middle of a burst: never above the cap, none twice, and every call ends', async () => {
  rig = await startReplicas(server, 3, 400);
  const key = await nth(0).client.issueKey(keyBody({ usd_cap: CAP_USD }));
  let mostUsd = 0;
  const look = (): void => {
    const { chargedUsd, openUsd } = rig.sandbox.stats().stripe;
    mostUsd = Math.max(mostUsd, chargedUsd + openUsd);
  };
  // Ten records go to it first: the vendor executes them, and finds nobody to tell.
  const first = parallel(10, 10, (index) => untilEnded(key.vault_key, 3 * index + 2, look));
  await until('they are at the vendor', () => rig.sandbox.requests().length === 10 || undefined);
  const others = parallel(CALLS - 10, PARALLEL, (index) => untilEnded(key.vault_key, 3_000 + index, look));
  await until('calls of all are at the vendor', () => rig.sandbox.requests().length > 30 || undefined);
  await nth(2).signal('SIGKILL');
  const ended = [...(await first), ...(await others)];
  expect(tally(ended)).toEqual({ '200': PAID, '429 cap_exhausted': CALLS - PAID });
  expect(mostUsd).toBeLessThanOrEqual(CAP_USD);
  expect(await books({ client: nth(0).client, sandbox: rig.sandbox }, key.key_id)).toEqual(balanced(PAID, CAP_USD));
  expect(nth(0).log() + nth(1).log()).toContain('another process on the ledger is dead');
}, 180_000);

test.each(['restart', 'crash'] as const)(
  'Postgres goes away in the middle of a burst (%s): never above the cap, none twice, and every call ends',
  async (how) => {
    rig = await startReplicas(server, 3, 100);
    const key = await nth(0).client.issueKey(keyBody({ usd_cap: CAP_USD }));
    let restarted: Promise<void> | undefined;
    let answers = 0;
    let refused = 0;
    const look = (answer?: Answer): void => {
      if (answer?.code === 'store_unavailable') refused += 1;
      if ((answers += 1) !== 10) return;
      restarted = server.stop(how === 'crash' ? 'crash' : undefined).then(() => server.start());
    };
    const ended = await parallel(CALLS, PARALLEL, (record) => untilEnded(key.vault_key, record, look));
    await restarted;
    expect({ wasDown: refused > 0 }).toEqual({ wasDown: true });
    expect(tally(ended)).toEqual({ '200': PAID, '429 cap_exhausted': CALLS - PAID });
    expect(await books({ client: nth(1).client, sandbox: rig.sandbox }, key.key_id)).toEqual(balanced(PAID, CAP_USD));
    // Its heart stopped beating for nobody.
    for (const { log } of rig.replicas) expect(log()).not.toContain('is dead');
  },
  180_000,
);

test('a notice on their channel that is no message of theirs is passed over', async () => {
  rig = await startReplicas(server, 1);
  const database = new URL(rig.database).pathname.slice(1);
  for (const notice of ['hello', 'null', '{"kind":"of a later version"}']) {
    await server.query(`NOTIFY keybrake, '${notice}'`, database);
  }
  const key = await nth(0).client.issueKey(keyBody({ usd_cap: CAP_USD }));
  expect((await nth(0).client.revokeKey(key.key_id, 'stop')).state).toBe('revoked');
  expect((await nth(0).call(key.vault_key, { key: 'after' })).code).toBe('key_revoked');
});

test('listings that the server does not answer keep neither calls nor heartbeats waiting', async () => {
  rig = await startReplicas(server, 1, 0);
  const { client, call, url } = nth(0);
  const key = await client.issueKey(keyBody({ usd_cap: 100 }));
  const lock = new pg.Client(rig.database);
  await lock.connect();
  // No call to this vendor needs the table; who looks for what may be pruned does.
  await lock.query('BEGIN; LOCK TABLE keybrake.late IN ACCESS EXCLUSIVE MODE');
  const old = { older_than: '90d', dry_run: true, cursor: 'late_prices:' };
  const listings = Array.from({ length: 20 }, () => client.pruneCalls(old));
  await until('all that listings may have wait', async () => {
    const { rows } = await server.query("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
    return rows.length === 4 || undefined;
  });
  const answers = await parallel(20, 10, (index) => call(key.vault_key, { key: `meanwhile:${index}` }));
  expect(tally(answers)).toEqual({ '200': 20 });
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
  const { rows } = await server.query("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
  expect(rows).toHaveLength(4);
  await lock.query('COMMIT');
  await lock.end();
  await Promise.all(listings);
  expect(await books({ client, sandbox: rig.sandbox }, key.key_id)).toEqual(balanced(20, 100));
});

test('two processes, one idempotency key, the same moment: one execution, and both callers get its answer', async () => {
  rig = await startReplicas(server, 2, 100);
  const key = await nth(0).client.issueKey(keyBody({ usd_cap: 500 }));
  for (let round = 0; round < 10; round += 1) {
    const pair = await Promise.all([0, 1].map((index) => nth(index).call(key.vault_key, { key: `pair:${round}` })));
    expect(pair.map(({ status }) => status)).toEqual([200, 200]);
    expect(pair[0]!.json.id).toBe(pair[1]!.json.id);
    expect(pair.filter(({ headers }) => headers['idempotent-replayed'] === 'true')).toHaveLength(1);
  }
  expect(await books({ client: nth(1).client, sandbox: rig.sandbox }, key.key_id)).toEqual(balanced(10, 50));
});

test('two processes raise the amount of one PaymentIntent at the same moment: one after the other, and the ledger has what the vendor has', async () => {
  const delayMs = 50;
  rig = await startReplicas(server, 2, delayMs);
  const allowed_endpoints = ['POST /v1/payment_intents', 'POST /v1/payment_intents/:id'];
  for (let round = 0; round < 8; round += 1) {
    const { chargedUsd, openUsd } = rig.sandbox.stats().stripe;
    // $5 to begin with. Either change fits alone; on top of each other both would only below the higher cap.
    const key = await nth(0).client.issueKey(
      keyBody({ usd_cap: round % 2 === 0 ? 9 : 100, allowed_endpoints, on_cap: 'refuse' }),
    );
    const made = await nth(round).call(key.vault_key, { body: 'amount=500&currency=usd' });
    const path = `/stripe/v1/payment_intents/${made.json.id}`;
    const change = (index: number) =>
      nth(index).call(key.vault_key, { path, body: `amount=${900 - 100 * index}`, key: `raise:${round}:${index}` });
    expect(tally(await Promise.all([change(0), change(1)]))).toEqual({ '200': 2 });
    const [first, second] = rig.sandbox.requests().filter((request) => path.endsWith(request.path));
    expect(second!.atMs - first!.atMs).toBeGreaterThanOrEqual(delayMs - 1);
    const after = rig.sandbox.stats().stripe;
    const usd = after.chargedUsd + after.openUsd - chargedUsd - openUsd;
    expect([8, 9]).toContain(usd);
    const { spend } = await nth(1).client.getKey(key.key_id);
    expect(spend).toMatchObject({ settled_usd: usd, held_usd: 0, unknown_usd: 0 });
  }
});

test('a call that waits for money is woken by a hold that ends in another process', async () => {
  rig = await startReplicas(server, 2, 600);
  const key = await nth(0).client.issueKey(keyBody({ usd_cap: 5 }));
  rig.sandbox.setFaults({ decline: { first: 1 } });
  const first = nth(0).call(key.vault_key, { key: 'first' });
  await until('the first is at the vendor', () => rig.sandbox.requests().length === 1 || undefined);
  const began = performance.now();
  const second = await nth(1).call(key.vault_key, { key: 'second' });
  expect((await first).status).toBe(402);
  expect(second.status).toBe(200);
  // One delay of the vendor for each, and not the two seconds after which it would have looked anyway.
  expect(performance.now() - began).toBeLessThan(1_900);
});

test('a key that is revoked, a cap that is raised and a latch at one process hold at once at the others', async () => {
  rig = await startReplicas(server, 2, 0);
  const key = await nth(0).client.issueKey(keyBody({ usd_cap: 5 }));
  expect((await nth(1).call(key.vault_key)).status).toBe(200);
  expect((await nth(0).call(key.vault_key)).code).toBe('cap_exhausted');
  expect((await nth(1).call(key.vault_key)).code).toBe('cap_exhausted');
  await nth(0).client.patchKey(key.key_id, { usd_cap: 10 });
  expect((await nth(1).call(key.vault_key)).status).toBe(200);
  await nth(1).client.revokeKey(key.key_id, 'test');
  expect((await nth(0).call(key.vault_key)).code).toBe('key_revoked');
});

test('a DELETE at one process: once it has answered, nothing leaves another one, which has calls in flight and in its queue', async () => {
  rig = await startReplicas(server, 2, 400);
  const key = await nth(0).client.issueKey(keyBody({ usd_cap: 100_000 }));
  const calls = parallel(400, 400, (index) => nth(1).call(key.vault_key, { key: `queued:${index}` }));
  await until('the vendor is busy', () => rig.sandbox.requests().length > 20 || undefined);
  const { in_flight: inFlight } = await nth(0).client.revokeKey(key.key_id, 'test');
  // What had left may still be on its way through the sockets.
  await new Promise((resolve) => setTimeout(resolve, 50));
  const left = rig.sandbox.requests().length;
  const answers = await calls;
  expect(rig.sandbox.requests()).toHaveLength(left);
  expect(inFlight).toBeGreaterThan(0);
  expect(tally(answers)).toEqual({ '200': left, '401 key_revoked': 400 - left });
  expect((await nth(0).client.getKey(key.key_id)).spend).toMatchObject({ settled_usd: left * 5, held_usd: 0 });
});

test('a DELETE while another process stands still and cannot be told: it answers when what that one holds may not leave any more', async () => {
  rig = await startReplicas(server, 2, 400);
  const key = await nth(0).client.issueKey(keyBody({ usd_cap: 100_000 }));
  const calls = parallel(800, 400, (index) => nth(1).call(key.vault_key, { key: `paused:${index}` }));
  // It stands still at a moment at which money is held for calls that have not left.
  const pausedWhileHolding = async (): Promise<boolean> => {
    nth(1).pause();
    const { spend } = await nth(0).client.getKey(key.key_id);
    if ((spend.calls.held ?? 0) + (spend.calls.settled ?? 0) > rig.sandbox.requests().length) return true;
    nth(1).resume();
    return false;
  };
  await until('it stands still in the middle', async () => (await pausedWhileHolding()) || undefined);
  // Nor will it hear of the revocation: its connection for that is gone.
  await server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'");
  await nth(0).client.revokeKey(key.key_id, 'test');
  const left = rig.sandbox.requests().length;
  nth(1).resume();
  const counts = tally(await calls);
  expect(rig.sandbox.requests()).toHaveLength(left);
  expect((counts['200'] ?? 0) + (counts['504 outcome_unknown'] ?? 0)).toBe(left);
}, 60_000);

test('SIGTERM: what is in flight settles, the process leaves the ledger, and nobody has to bury it', async () => {
  rig = await startReplicas(server, 2, 300);
  const key = await nth(0).client.issueKey(keyBody({ usd_cap: 100 }));
  const calls = parallel(10, 10, (index) => nth(1).call(key.vault_key, { key: `drained:${index}` }));
  await until('all are at the vendor', () => rig.sandbox.requests().length === 10 || undefined);
  const code = nth(1).signal('SIGTERM');
  expect(tally(await calls)).toEqual({ '200': 10 });
  expect(await code).toBe(0);
  const { rows } = await server.query('SELECT epoch FROM keybrake.epochs', new URL(rig.database).pathname.slice(1));
  expect(rows).toHaveLength(1);
  expect(await books({ client: nth(0).client, sandbox: rig.sandbox }, key.key_id)).toEqual(balanced(10, 50));
});

describe('outcomes while Postgres is down', () => {
  /** Repeats a call until it has ended, as its client does. */
  async function untilAnswered(vaultKey: string, key: string, at = nth(0)): Promise<Answer> {
    for (;;) {
      const answer = await at.call(vaultKey, { key });
      if (!AGAIN.has(answer.code ?? '')) return answer;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  async function executedWhileDown({ cap = 100, spools = true } = {}) {
    rig = await startReplicas(server, 1, 300);
    const key = await nth(0).client.issueKey(keyBody({ usd_cap: cap }));
    if (!spools) {
      // Its folder is a file now, in which nobody can write another, not even root.
      rmdirSync(nth(0).spool);
      writeFileSync(nth(0).spool, '');
    }
    const calls = parallel(5, 5, (index) => nth(0).call(key.vault_key, { key: `down:${index}` }));
    await until('all are at the vendor', () => rig.sandbox.requests().length === 5 || undefined);
    await server.stop();
    return { key, answers: await calls };
  }

  test('are spooled to disk and told to the callers, and are in the ledger once it is back', async () => {
    const { key, answers } = await executedWhileDown();
    expect(tally(answers)).toEqual({ '200': 5 });
    expect(readdirSync(nth(0).spool)).toHaveLength(5);
    expect((await nth(0).call(key.vault_key, { key: 'new' })).code).toBe('store_unavailable');
    expect(rig.sandbox.requests()).toHaveLength(5);
    await server.start();
    await until('the spool is empty', () => readdirSync(nth(0).spool).length === 0 || undefined);
    expect(await books({ client: nth(0).client, sandbox: rig.sandbox }, key.key_id)).toEqual(balanced(5, 25));
    const again = await nth(0).call(key.vault_key, { key: 'down:0' });
    expect([again.status, again.headers['idempotent-replayed']]).toEqual([200, 'true']);
  });

  test('that cannot be spooled either: callers hear outcome_unknown, the money stays held, and it is settled once Postgres is back', async () => {
    const { key, answers } = await executedWhileDown({ cap: 25, spools: false });
    expect(tally(answers)).toEqual({ '504 outcome_unknown': 5 });
    expect(nth(0).log()).toContain('an outcome cannot be spooled; its money stays held');
    await server.start();
    const again = await parallel(5, 5, (index) => untilAnswered(key.vault_key, `down:${index}`));
    expect(tally(again)).toEqual({ '200': 5 });
    expect(await books({ client: nth(0).client, sandbox: rig.sandbox }, key.key_id)).toEqual(balanced(5, 25));
    expect((await nth(0).call(key.vault_key)).code).toBe('cap_exhausted');
  });

  test('that cannot be spooled, and then the process is killed too: held until their own retry, and executed once', async () => {
    const { key } = await executedWhileDown({ cap: 25, spools: false });
    await nth(0).signal('SIGKILL');
    await server.start();
    const next = await rig.start();
    expect((await next.client.getKey(key.key_id)).spend).toMatchObject({ held_usd: 25, settled_usd: 0 });
    expect((await next.call(key.vault_key, { key: 'new' })).status).toBe(429);
    const again = await parallel(5, 5, (index) => untilAnswered(key.vault_key, `down:${index}`, next));
    expect(tally(again)).toEqual({ '200': 5 });
    expect(await books({ client: next.client, sandbox: rig.sandbox }, key.key_id)).toEqual(balanced(5, 25));
  }, 120_000);

  test('are there after a kill of the process too, and no call is repeated', async () => {
    const { key, answers } = await executedWhileDown();
    const { spool } = nth(0);
    await nth(0).signal('SIGKILL');
    await server.start();
    const next = await rig.start(spool);
    expect(readdirSync(spool)).toEqual([]);
    const again = await next.call(key.vault_key, { key: 'down:1' });
    expect(again.json.id).toBe(answers[1]!.json.id);
    expect(await books({ client: next.client, sandbox: rig.sandbox }, key.key_id)).toEqual(balanced(5, 25));
  });
});
