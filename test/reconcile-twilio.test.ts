/** Twilio has no idempotency keys: what became of a text is looked up there, and nothing is ever sent blindly again. */
import type { IssuedKey } from '../proxy/contract';
import { type Sandbox, startSandbox } from '../src/sandbox';
import { type TestProxy } from '../src/testing';
import { startTestProxy } from './support/proxy';
import { parallel, until } from './support/rig';
import { ACCOUNT, FROM, TO, TOKEN } from './sandbox-twilio-fixture';

const SEND = 'POST /2010-04-01/Accounts/:AccountSid/Messages.json';
const PATH = `/twilio/2010-04-01/Accounts/${ACCOUNT}/Messages.json`;
const UPSTREAM_TIMEOUT_MS = 500;
const MARGIN_MS = 200;

let sandbox: Sandbox;
let proxy: TestProxy;

beforeEach(async () => {
  sandbox = await startSandbox({ twilio: { accountSid: ACCOUNT, authToken: TOKEN } });
  proxy = await startTestProxy({
    upstream: sandbox.url,
    upstreamTimeoutMs: UPSTREAM_TIMEOUT_MS,
    reconcile: { everyMs: 50, marginMs: MARGIN_MS, firstWaitMs: 100, lookForMs: 1_000 },
    // One account of Twilio's, under two names.
    accounts: Object.fromEntries(
      ['twilio', 'same'].map((name) => [
        name,
        { vendor: 'twilio', secret: TOKEN, accountId: ACCOUNT, upstream: sandbox.url },
      ]),
    ),
  });
});
afterEach(async () => {
  await proxy.close();
  await sandbox.stop();
});

interface Text {
  readonly to: string;
  readonly body: string;
  readonly from?: string;
}

function issue(usd_cap = 100, account = 'twilio'): Promise<IssuedKey> {
  return proxy.client.issueKey({
    vendor: 'twilio',
    account,
    usd_cap,
    allowed_endpoints: [SEND],
    expires_in: '1h',
    agent_run_label: 'texts',
  });
}

async function send(key: IssuedKey, idempotencyKey: string, { to, body, from = FROM }: Text) {
  const reply = await fetch(proxy.url + PATH, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(`${ACCOUNT}:${key.vault_key}`)}`, 'idempotency-key': idempotencyKey },
    body: new URLSearchParams({ To: to, From: from, Body: body }),
  });
  // oxlint-disable-next-line typescript/no-explicit-any -- a test reads what it needs
  const json = (await reply.json()) as any;
  const code = json.details?.keybrake_code as string | undefined;
  return { status: reply.status, headers: reply.headers, json, code };
}

/** Repeats with the same key until it has an answer of the vendor's. */
async function untilSent(key: IssuedKey, idempotencyKey: string, text: Text) {
  for (;;) {
    const answer = await send(key, idempotencyKey, text);
    if (answer.status === 201) return answer;
    expect(answer.code).toMatch(/^(outcome_unknown|idempotency_in_progress)$/);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

const spendOf = async ({ key_id: id }: IssuedKey) => (await proxy.client.getKey(id)).spend;
const number = (index: number) => `+1415555${String(1_000 + index).padStart(4, '1')}`;

test('200 texts through a socket that dies after every third send, each repeated by its caller: 200 sent, none twice, all settled', async () => {
  sandbox.setFaults({ dropAfter: { every: 3 } }, 'twilio');
  const key = await issue();
  // The same words to different numbers, words of their own, and ten pairs of truly identical texts.
  const texts = Array.from({ length: 200 }, (_, index) => {
    if (index >= 180) return { to: number(900 + ((index - 180) % 10)), body: 'Your code is 1234' };
    return index < 90 ? { to: number(index), body: 'Your order has shipped' } : { to: TO, body: `Order ${index}` };
  });
  const answers = await parallel(200, 200, (index) => untilSent(key, `order:${index}`, texts[index]!));

  expect(new Set(answers.map(({ json }) => json.sid)).size).toBe(200);
  for (const [index, { json }] of answers.entries()) expect(json).toMatchObject(texts[index]!);
  const { twilio } = sandbox.stats();
  expect(twilio).toMatchObject({ executedMessages: 200, injected: { dropAfter: 66 } });
  expect(twilio.duplicates.sends.map(({ ids }) => ids.length)).toEqual(Array(10).fill(2));
  expect(sandbox.requests().filter(({ method }) => method === 'POST')).toHaveLength(200);
  expect(await spendOf(key)).toMatchObject({
    settled_usd: 4,
    held_usd: 0,
    unknown_usd: 0,
    calls: { settled: 200, unknown: 0, held: 0 },
  });
});

test('an immediate repeat gets the text that was sent as its answer, and nothing is sent again', async () => {
  sandbox.setFaults({ dropAfter: { first: 1 } }, 'twilio');
  const key = await issue();
  const text = { to: TO, body: 'early' };
  expect((await send(key, 'early', text)).code).toBe('outcome_unknown');
  expect((await send(key, 'early', text)).status).toBe(201);
  expect(sandbox.requests().map(({ method }) => method)).toEqual(['POST', 'GET']);
});

test('a lost text is not settled with one that was sent under another name of the same account', async () => {
  const text = { to: TO, body: 'under two names' };
  expect((await send(await issue(), 'first', text)).status).toBe(201);
  sandbox.setFaults({ dropBefore: { first: 1 } }, 'twilio');
  const key = await issue(100, 'same');
  expect((await send(key, 'second', text)).code).toBe('outcome_unknown');
  expect((await send(key, 'second', text)).code).toBe('idempotency_in_progress');
  expect(await spendOf(key)).toMatchObject({ settled_usd: 0, unknown_usd: 0.02 });
});

test('an immediate repeat of what cannot be found yet is told when to come back, and nothing is sent', async () => {
  sandbox.setFaults({ dropBefore: { first: 1 } }, 'twilio');
  const key = await issue();
  const text = { to: TO, body: 'not there yet' };
  expect((await send(key, 'early', text)).code).toBe('outcome_unknown');
  const early = await send(key, 'early', text);
  expect([early.status, early.code]).toEqual([409, 'idempotency_in_progress']);
  expect(Number(early.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
  expect(sandbox.requests().filter(({ method }) => method === 'POST')).toHaveLength(1);
});

test('without any repeat the text is found and settled, and a late repeat gets it as its answer', async () => {
  sandbox.setFaults({ dropAfter: { first: 1 } }, 'twilio');
  const key = await issue();
  const text = { to: TO, body: 'never repeated' };
  expect((await send(key, 'once', text)).code).toBe('outcome_unknown');
  await settledOf(key, 1);
  const replay = await send(key, 'once', text);
  expect(replay.headers.get('idempotent-replayed')).toBe('true');
  expect(replay.json).toMatchObject({ ...text, sid: sandbox.messages()[0]!.id });
  expect(sandbox.stats().twilio).toMatchObject({ executedMessages: 1 });
});

test('a revoked key sends nothing, and its lost text is found and settled all the same', async () => {
  sandbox.setFaults({ dropAfter: { first: 1 } }, 'twilio');
  const key = await issue();
  await send(key, 'revoked', { to: TO, body: 'before the revocation' });
  await proxy.client.revokeKey(key.key_id, 'enough');
  await settledOf(key, 1);
  expect(sandbox.requests().filter(({ method }) => method === 'POST')).toHaveLength(1);
});

test('a text that Twilio does not have stays unknown and is flagged once; nothing like it is sent until an operator has spoken', async () => {
  sandbox.setFaults({ dropBefore: { first: 1 } }, 'twilio');
  const key = await issue();
  const text = { to: TO, body: 'lost on its way' };
  expect((await send(key, 'lost', text)).code).toBe('outcome_unknown');
  const lost = await until('the call is left to an operator', async () => {
    const { items } = await proxy.client.listCalls({ key_id: key.key_id, state: 'unknown' });
    return items[0]?.stuck_at === null ? undefined : items[0];
  });
  expect(await spendOf(key)).toMatchObject({ unknown_usd: 0.02, settled_usd: 0 });

  const again = await send(key, 'lost', text);
  expect([again.status, again.code, again.json.details.prior_call.call_id]).toEqual([
    504,
    'outcome_unknown',
    lost.call_id,
  ]);
  const twin = await send(key, 'another key', text);
  expect([twin.status, twin.code, twin.json.details.prior_call.call_id]).toEqual([
    504,
    'outcome_unknown',
    lost.call_id,
  ]);
  expect(twin.json.message).toMatch(/nothing was sent/);
  expect((await send(key, 'other words', { ...text, body: 'on its way again' })).status).toBe(201);
  expect(sandbox.stats().twilio.executedMessages).toBe(1);
  expect(await metric('keybrake_stuck_calls')).toBe(1);
  expect(await metric('keybrake_reconciled_total{vendor="twilio",outcome="stuck"}')).toBe(1);

  await proxy.client.resolveCall(lost.call_id, { outcome: 'released' });
  expect((await send(key, 'another key', text)).status).toBe(201);
  expect((await send(key, 'lost', text)).status).toBe(201);
});

test('while a text is looked for, an identical one under another key is told to come back, and is then sent', async () => {
  sandbox.setFaults({ dropAfter: { first: 1 } }, 'twilio');
  const key = await issue();
  const text = { to: TO, body: 'twins' };
  expect((await send(key, 'first', text)).code).toBe('outcome_unknown');
  const second = await send(key, 'second', text);
  expect([second.status, second.code]).toEqual([409, 'idempotency_in_progress']);
  await settledOf(key, 1);
  const sent = await send(key, 'second', text);
  expect([sent.status, sent.headers.get('idempotent-replayed')]).toEqual([201, null]);
  expect(sandbox.stats().twilio.executedMessages).toBe(2);
  expect(await spendOf(key)).toMatchObject({ settled_usd: 0.04, unknown_usd: 0 });
});

test('a message that settled one call is never taken for another', async () => {
  const key = await issue();
  const text = { to: TO, body: 'sent once, lost once' };
  expect((await send(key, 'sent', text)).status).toBe(201);
  sandbox.setFaults({ dropBefore: { first: 1 } }, 'twilio');
  expect((await send(key, 'lost', text)).code).toBe('outcome_unknown');
  await until('the call is left to an operator', async () => {
    const { items } = await proxy.client.listCalls({ key_id: key.key_id, state: 'unknown' });
    return items[0]?.stuck_at === null ? undefined : true;
  });
  expect(await spendOf(key)).toMatchObject({ settled_usd: 0.02, unknown_usd: 0.02, calls: { settled: 1, unknown: 1 } });
});

/** Waits until so many calls of the key are settled and none is unknown. */
function settledOf(key: IssuedKey, count: number) {
  return until(`${count} settled`, async () => {
    const { calls } = await spendOf(key);
    return calls.settled === count && calls.unknown === 0 ? true : undefined;
  });
}

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`${proxy.url}/metrics`)).text();
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${name} `));
  return Number(line?.slice(name.length + 1));
}
