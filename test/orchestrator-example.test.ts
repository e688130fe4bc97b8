/** `examples/any_orchestrator.py`, as it is: what somebody copies must hold what its words promise. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { startPython } from './support/python';
import { type Rig, startRig, until } from './support/rig';

const LEASE_SECONDS = 10;

let rig: Rig;
beforeAll(async () => {
  rig = await startRig();
});
afterAll(() => rig.close());

/** Starts the example on `count` customers at $5. */
async function start(job: string, capUsd: number, count: number): Promise<ChildProcess> {
  const env = { KEYBRAKE_URL: rig.proxy.url, KEYBRAKE_API_KEY: rig.proxy.apiKey, LEASE_SECONDS: String(LEASE_SECONDS) };
  const child = await startPython('../../examples/any_orchestrator.py', [job, String(capUsd)], {
    env,
    stderr: 'pipe',
  });
  const rows = Array.from({ length: count }, (_, i) => JSON.stringify({ id: `cus_${job}_${i}`, amount_cents: 500 }));
  child.stdin!.end(rows.join('\n'));
  return child;
}

async function run(job: string, capUsd: number, count: number) {
  const child = await start(job, capUsd, count);
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout!), text(child.stderr!), once(child, 'close')]);
  return { code: code as number, stdout, stderr };
}

const keysOf = async (job: string) => (await rig.client.listKeys({ job_id: job })).items;
const charges = (job: string) => rig.sandbox.charges().filter(({ customer }) => customer?.startsWith(`cus_${job}_`));

test('a run that is started again charges nobody twice, goes on after a decline, and leaves no key alive', async () => {
  rig.sandbox.setFaults({ decline: { first: 1 } });
  const first = await run('billing/24#1', 100, 3);
  expect([first.code, first.stderr]).toEqual([0, '']);
  expect(JSON.parse(first.stdout)).toMatchObject({
    declined: [{ id: 'cus_billing/24#1_0', code: 'card_declined' }],
    spend: { settled_usd: 10 },
  });
  const second = await run('billing/24#1', 100, 4);
  expect(JSON.parse(second.stdout)).toMatchObject({ spend: { settled_usd: 15, held_usd: 0, unknown_usd: 0 } });
  expect(charges('billing/24#1').filter(({ executed }) => executed)).toHaveLength(3);
  expect((await keysOf('billing/24#1')).map(({ state }) => state)).toEqual(['revoked', 'revoked']);
});

test("at the cap the SDK's own exception ends it, with the code, and the key is revoked", async () => {
  const { code, stderr } = await run('capped', 10, 4);
  expect(code).toBe(1);
  expect(stderr).toMatch(/RateLimitError: .*cap_exhausted/);
  expect(charges('capped')).toHaveLength(2);
  expect((await keysOf('capped')).map(({ state }) => state)).toEqual(['revoked']);
});

test('the key of a run that is killed dies with its lease, which the run had renewed', async () => {
  rig.sandbox.setFaults({ delayMs: 6_000 });
  const child = await start('killed', 100, 1);
  const leaseEnd = async () => Date.parse((await keysOf('killed'))[0]?.lease_expires_at ?? '');
  const issued = await until('it has a key', async () => (await leaseEnd()) || undefined);
  await until('it was renewed', async () => (await leaseEnd()) > issued || undefined);
  child.kill('SIGKILL');
  await once(child, 'close');
  const back = await rig.proxy.passTime(LEASE_SECONDS * 1_000);
  try {
    expect((await keysOf('killed')).map(({ state }) => state)).toEqual(['expired']);
  } finally {
    back();
    rig.sandbox.setFaults({});
  }
  // What had left is settled all the same.
  await until('it is settled', async () => (await keysOf('killed'))[0]?.spend.settled_usd === 5 || undefined);
});
