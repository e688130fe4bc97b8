/** Unknown calls to Stripe and Resend clear by themselves: sent again under the same key, or looked up, or flagged. */
import type { CallView, IssuedKey, IssueKeyBody } from '../proxy/contract';
import { cluster } from './support/postgres';
import { startTestProxy } from './support/proxy';
import { postgresOptions } from './support/store';
import { balanced, books, callerOf, type Rig, startRig, until } from './support/rig';

const RECONCILE = { everyMs: 50, marginMs: 100, firstWaitMs: 100, lookForMs: 1_500 };
const RESEND_KEY = 're_team_0123456789';

let rig: Rig;
beforeEach(async () => {
  rig = await startRig({
    sandbox: { resend: { apiKey: RESEND_KEY } },
    proxy: { upstreamTimeoutMs: 400, reconcile: RECONCILE },
  });
});
afterEach(() => rig.close());

const posts = () => rig.sandbox.requests().filter(({ method }) => method === 'POST');
const looks = () => rig.sandbox.requests().filter(({ method }) => method === 'GET');
const callsOf = async (key: IssuedKey) => (await rig.client.getKey(key.key_id)).spend.calls;

function settled(key: IssuedKey, count: number) {
  return until(`${count} settled`, async () => {
    const calls = await callsOf(key);
    return calls.settled === count && calls.unknown + calls.held === 0 ? true : undefined;
  });
}

function stuck(key: IssuedKey): Promise<CallView> {
  return until('it is left to an operator', async () => {
    const { items } = await rig.client.listCalls({ key_id: key.key_id, state: 'unknown' });
    return items[0]?.stuck_at === null ? undefined : items[0];
  });
}

const issue = (body: Partial<IssueKeyBody> = {}) => rig.issue({ usd_cap: 100, ...body });

test('a call whose connection was cut is sent again under its key without any retry: executed once, settled once', async () => {
  rig.sandbox.setFaults({ dropAfter: { first: 1 } });
  const key = await issue();
  expect((await rig.call(key.vault_key, { key: 'cut' })).code).toBe('outcome_unknown');
  await settled(key, 1);
  const [first, second] = posts();
  expect(second?.body).toBe(first?.body);
  expect(second?.headers['idempotency-key']).toBe('cut');
  expect(withoutConnection(second?.headers)).toEqual(withoutConnection(first?.headers));
  expect(await books(rig, key.key_id)).toEqual(balanced(1, 5));
  const replay = await rig.call(key.vault_key, { key: 'cut' });
  expect([replay.status, replay.headers['idempotent-replayed'], posts().length]).toEqual([200, 'true', 2]);
});

test('a call that never reached the vendor is executed by the second send, while its key lives', async () => {
  rig.sandbox.setFaults({ dropBefore: { first: 1 } });
  const key = await issue();
  await rig.call(key.vault_key, { key: 'lost' });
  await settled(key, 1);
  expect(await books(rig, key.key_id)).toEqual(balanced(1, 5));
});

test('a client that gives no key has its call sent again under the one that was made for it', async () => {
  rig.sandbox.setFaults({ dropAfter: { first: 1 } });
  const key = await issue();
  const unknown = await rig.call(key.vault_key);
  await settled(key, 1);
  expect(posts().map(({ headers }) => headers['idempotency-key'])).toEqual(
    Array(2).fill(`kb1_${unknown.json.error.keybrake.call_id}`),
  );
  expect(await books(rig, key.key_id)).toEqual(balanced(1, 5));
});

test("a client's retry while the proxy sends again waits for it, and nothing is sent a third time", async () => {
  rig.sandbox.setFaults({ dropAfter: { first: 1 } });
  const key = await issue();
  await rig.call(key.vault_key, { key: 'both' });
  rig.sandbox.setFaults({ delayMs: 300 });
  await until('it is sent again', () => (posts().length === 2 ? true : undefined));
  const answer = await rig.call(key.vault_key, { key: 'both' });
  expect([answer.status, answer.headers['idempotent-replayed'], posts().length]).toEqual([200, 'true', 2]);
  expect(await books(rig, key.key_id)).toEqual(balanced(1, 5));
});

test('after a revocation nothing is sent again; the charge is found by its key, settled, and replayed to another key', async () => {
  rig.sandbox.setFaults({ dropAfter: { first: 1 } });
  const key = await issue();
  await rig.call(key.vault_key, { key: 'revoked' });
  await rig.client.revokeKey(key.key_id, 'enough');
  await settled(key, 1);
  expect(posts()).toHaveLength(1);
  expect(await books(rig, key.key_id)).toEqual(balanced(1, 5));
  const next = await issue();
  const replay = await rig.call(next.vault_key, { key: 'revoked' });
  expect(replay.json).toMatchObject({
    id: rig.sandbox.charges()[0]!.id,
    object: 'payment_intent',
    status: 'succeeded',
  });
  expect(posts()).toHaveLength(1);
});

test('a stored 500 that the vendor repeats all day hides nothing: the charge is found', async () => {
  rig.sandbox.setFaults({ error500After: { first: 1 }, error500Stored: true });
  const key = await issue();
  expect((await rig.call(key.vault_key, { key: '500' })).code).toBe('outcome_unknown');
  // Each by a try of its own, and the tries are further and further apart.
  await until('it is sent again, to the same 500', () => rig.sandbox.stats().stripe.replayed >= 1 || undefined);
  await until('it is settled', async () => {
    const calls = await callsOf(key);
    return calls.settled === 1 ? true : undefined;
  });
  expect(await books(rig, key.key_id)).toEqual(balanced(1, 5));
}, 30_000);

test('a decline that was lost is found, costs nothing, and is replayed as the decline that it was', async () => {
  rig.sandbox.setFaults({ dropAfter: { first: 1 }, decline: { first: 1 } });
  const key = await issue();
  await rig.call(key.vault_key, { key: 'declined' });
  await rig.client.revokeKey(key.key_id, 'enough');
  await settled(key, 1);
  const { items } = await rig.client.listCalls({ key_id: key.key_id });
  expect(items).toMatchObject([{ state: 'settled', http_status: 402, code: 'card_declined', cost_usd: 0 }]);
  const replay = await rig.call((await issue()).vault_key, { key: 'declined' });
  expect([replay.status, replay.json.error]).toMatchObject([402, { code: 'card_declined', type: 'card_error' }]);
});

test('what the vendor does not show stays unknown and held, is flagged once, and is never released by itself', async () => {
  rig.sandbox.setFaults({ dropBefore: { first: 1 } });
  const key = await issue();
  await rig.call(key.vault_key, { key: 'nowhere' });
  await rig.client.revokeKey(key.key_id, 'enough');
  const call = await stuck(key);
  const asked = looks().length;
  await until('it is looked for once more', () => (looks().length > asked ? true : undefined));
  expect((await rig.client.getKey(key.key_id)).spend).toMatchObject({ unknown_usd: 5, settled_usd: 0, held_usd: 0 });
  expect(posts()).toHaveLength(1);
  expect(await rig.client.listCalls({ key_id: key.key_id, state: 'unknown' })).toMatchObject({
    items: [{ call_id: call.call_id, stuck_at: call.stuck_at }],
  });
  const text = await (await fetch(`${rig.proxy.url}/metrics`)).text();
  expect(text).toContain('keybrake_reconciled_total{vendor="stripe",outcome="stuck"} 1');
  expect(text).toContain('keybrake_stuck_calls 1');
  expect(Number(/^keybrake_unknown_oldest_seconds (\S+)$/m.exec(text)?.[1])).toBeGreaterThan(5);
  const warned = rig.logged.map((line) => JSON.parse(line) as { level: number; call_id?: string; why?: string });
  expect(warned.filter(({ level, call_id: id }) => level === 40 && id === call.call_id)).toMatchObject([
    { why: 'the vendor does not show it' },
  ]);
}, 30_000);

test.each([-3_600_000, 3_600_000])(
  'a process whose clock is %d ms from the store’s asks the vendor no shorter and no longer',
  async (ms) => {
    const postgres = postgresOptions(await (await cluster()).newDatabase());
    const reconcile = { ...RECONCILE, lookForMs: 3_000 };
    const own = await startRig({ proxy: { ...postgres, upstreamTimeoutMs: 400, reconcile } });
    const real = Date.now;
    const clock = jest.spyOn(Date, 'now').mockImplementation(() => real() + ms);
    try {
      own.sandbox.setFaults({ dropBefore: { first: 1 } });
      const key = await own.issue({ usd_cap: 10 });
      expect((await own.call(key.vault_key, { key: 'lost' })).code).toBe('outcome_unknown');
      await own.client.revokeKey(key.key_id, 'enough');
      const items = () => own.client.listCalls({ key_id: key.key_id, state: 'unknown' }).then((page) => page.items);
      const asked = () => own.sandbox.requests().filter(({ method }) => method === 'GET').length;
      const begun = performance.now();
      await until('it is left to an operator', async () => (await items())[0]?.stuck_at != null || undefined);
      expect(performance.now() - begun).toBeGreaterThan(2_000);
      expect(asked()).toBeGreaterThan(3);
    } finally {
      clock.mockRestore();
      await own.close();
    }
  },
);

describe('changes of a payment', () => {
  const CHANGES = ['', '/:id', '/:id/confirm', '/:id/capture'].map((end) => `POST /v1/payment_intents${end}`);
  const changing = (body: Partial<IssueKeyBody> = {}) => issue({ allowed_endpoints: CHANGES, ...body });
  const at = (id: string, end = '') => ({ path: `/stripe/v1/payment_intents/${id}${end}` });

  async function lose(key: IssuedKey, call: Parameters<Rig['call']>[1]): Promise<void> {
    rig.sandbox.setFaults({ dropAfter: { first: 1 } });
    expect((await rig.call(key.vault_key, call)).code).toBe('outcome_unknown');
    await rig.client.revokeKey(key.key_id, 'enough');
  }

  test.each([
    ['a partial capture', 'capture_method=manual&confirm=true', '/capture', 'amount_to_capture=200', 2],
    ['a confirmation', '', '/confirm', '', 5],
    ['a raised amount, of which no event tells', '', '', 'amount=700', 7],
  ])('%s that was lost is found, and the payment counts what it is worth now', async (_what, how, end, body, usd) => {
    const key = await changing();
    const made = await rig.call(key.vault_key, {
      key: 'made',
      body: `amount=500&currency=usd&${how}`.replace(/&$/, ''),
    });
    await lose(key, { ...at(made.json.id, end), body, key: 'changed' });
    await settled(key, 2);
    expect(await rig.client.getKey(key.key_id)).toMatchObject({ spend: { settled_usd: usd, unknown_usd: 0 } });
    const { chargedUsd, openUsd } = rig.sandbox.stats().stripe;
    expect(chargedUsd + openUsd).toBe(usd);
  });
});

describe('Resend', () => {
  const MAIL = JSON.stringify({ from: 'a@b.test', to: ['c@d.test'], subject: 's', text: 't' });
  const mail = { path: '/resend/emails', body: MAIL, headers: { 'content-type': 'application/json' } };
  let resend: Rig;
  beforeEach(async () => {
    const accounts = { resend: { vendor: 'resend', secret: RESEND_KEY, upstream: rig.sandbox.url } };
    resend = await startRig({
      proxy: { upstream: rig.sandbox.url, accounts, upstreamTimeoutMs: 400, reconcile: RECONCILE },
    });
  });
  afterEach(() => resend.close());
  const issueMail = () =>
    resend.client.issueKey({
      vendor: 'resend',
      usd_cap: 1,
      allowed_endpoints: ['POST /emails'],
      expires_in: '1h',
      agent_run_label: 'mail',
    });

  test('an e-mail whose answer was lost is sent again under its key, and arrives once', async () => {
    rig.sandbox.setFaults({ dropAfter: { first: 1 } }, 'resend');
    const key = await issueMail();
    await resend.call(key.vault_key, { ...mail, key: 'mail' });
    await until('it is settled', async () =>
      (await resend.client.getKey(key.key_id)).spend.calls.settled === 1 ? true : undefined,
    );
    expect(rig.sandbox.emails()).toHaveLength(1);
    expect(posts().map(({ headers }) => headers['idempotency-key'])).toEqual(['mail', 'mail']);
    expect((await resend.client.getKey(key.key_id)).spend).toMatchObject({ settled_usd: 0.0009, unknown_usd: 0 });
  });

  test('it is sent again also by a process whose clock is ahead of the clock of the store', async () => {
    const postgres = postgresOptions(await (await cluster()).newDatabase());
    const accounts = { resend: { vendor: 'resend', secret: RESEND_KEY, upstream: rig.sandbox.url } };
    const proxy = await startTestProxy({
      ...postgres,
      upstream: rig.sandbox.url,
      accounts,
      upstreamTimeoutMs: 400,
      reconcile: RECONCILE,
    });
    const real = Date.now;
    const clock = jest.spyOn(Date, 'now').mockImplementation(() => real() + 60_000);
    try {
      rig.sandbox.setFaults({ dropAfter: { first: 1 } }, 'resend');
      const allowed_endpoints = ['POST /emails'];
      const terms = { usd_cap: 1, allowed_endpoints, expires_in: '1h', agent_run_label: 'mail' };
      const key = await proxy.client.issueKey({ vendor: 'resend', ...terms });
      const caller = callerOf(proxy.url);
      expect((await caller.call(key.vault_key, { ...mail, key: 'mail' })).status).toBe(504);
      await until('it is settled', async () => (await proxy.client.getKey(key.key_id)).spend.calls.settled === 1);
      await caller.close();
    } finally {
      clock.mockRestore();
      await proxy.close();
    }
  }, 30_000);

  test('once its key is revoked nothing can tell, so an operator is told at once; nothing is read with a sending key', async () => {
    rig.sandbox.setFaults({ dropAfter: { first: 1 } }, 'resend');
    const key = await issueMail();
    await resend.call(key.vault_key, { ...mail, key: 'mail' });
    await resend.client.revokeKey(key.key_id, 'enough');
    await until('it is left to an operator', async () => {
      const { items } = await resend.client.listCalls({ state: 'unknown' });
      return items[0]?.stuck_at === null ? undefined : true;
    });
    expect([posts().length, looks().length]).toEqual([1, 0]);
    expect((await resend.client.getKey(key.key_id)).spend).toMatchObject({ settled_usd: 0, unknown_usd: 0.0009 });
  });
});

test('options that are no use stop the start, all of them named', async () => {
  const wrong = startTestProxy({ upstream: rig.sandbox.url, reconcile: { everyMs: 0, lookForMs: 1.5 } });
  await expect(wrong).rejects.toThrow(/reconcile\.everyMs must be .*; reconcile\.lookForMs must be/);
});

function withoutConnection(headers: object = {}): object {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name !== 'connection'));
}
