import { connect } from 'node:net';
import type { Stripe } from 'stripe';
import { request } from 'undici';
import { type Faults, type Sandbox, startSandbox } from '../src/sandbox';
import {
  type Fixture,
  FIVE_DOLLARS,
  FIVE_DOLLARS_FORM,
  SECRET,
  clientOf,
  errorOf,
  START_MS,
  startFixture,
} from './sandbox-fixture';

let fixture: Fixture;
let sandbox: Sandbox;
let stripe: Stripe;

beforeAll(async () => {
  fixture = await startFixture();
  ({ sandbox, stripe } = fixture);
});
beforeEach(() => {
  sandbox.reset();
  fixture.clock.nowMs = START_MS;
});
afterAll(() => fixture.close());

async function statusOfOne(): Promise<number> {
  return (await fixture.post('/v1/payment_intents', 'amount=500&currency=usd')).status;
}

describe('faults', () => {
  /** What a first request and its retry with the same key come to. */
  test.each<[string, Faults, number | 'cut', number, number, string | undefined]>([
    ['dropBefore', { dropBefore: { first: 1 } }, 'cut', 0, 200, undefined],
    ['dropAfter', { dropAfter: { first: 1 } }, 'cut', 1, 200, 'true'],
    ['error500Before', { error500Before: { first: 1 } }, 500, 0, 200, undefined],
    ['error500After', { error500After: { first: 1 } }, 500, 1, 200, 'true'],
    ['error500After, stored', { error500After: { first: 1 }, error500Stored: true }, 500, 1, 500, 'true'],
    ['decline', { decline: { first: 1 } }, 402, 0, 402, 'true'],
    ['rate429', { rate429: { first: 1 } }, 429, 0, 200, undefined],
  ])('%s: executed or not, and the retry charges at most once', async (name, faults, ...expected) => {
    const [firstStatus, executed, retryStatus, replayed] = expected;
    sandbox.setFaults(faults);
    const body = FIVE_DOLLARS_FORM;
    const headers = { 'idempotency-key': 'once' };
    const first = await fixture.post('/v1/payment_intents', body, headers).catch(() => ({ status: 'cut' }));
    expect(first.status).toBe(firstStatus);
    expect(sandbox.stats().stripe).toMatchObject({
      executedCharges: executed,
      injected: { [name.split(',')[0] ?? '']: 1 },
    });
    expect(sandbox.requests()[0]?.status).toBe(firstStatus === 'cut' ? null : firstStatus);
    const retry = await fixture.post('/v1/payment_intents', body, headers);
    expect(retry.status).toBe(retryStatus);
    expect(retry.headers['idempotent-replayed']).toBe(replayed);
    expect(sandbox.stats().stripe.executedCharges).toBe(firstStatus === 402 ? 0 : 1);
  });

  test('the SDK gets its charge through a cut connection, once', async () => {
    sandbox.setFaults({ dropAfter: { first: 1 } });
    const persistent = clientOf(sandbox, SECRET, 2);
    expect(await persistent.paymentIntents.create(FIVE_DOLLARS)).toMatchObject({ status: 'succeeded' });
    expect(sandbox.stats().stripe).toMatchObject({ executedCharges: 1, replayed: 1, requests: 2 });
  });

  test('a late answer is stored before it is sent: a retry need not wait for it', async () => {
    sandbox.setFaults({ delayAfterMs: 10_000 });
    const headers = { 'idempotency-key': 'late' };
    await errorOf(stripe.paymentIntents.create(FIVE_DOLLARS, { idempotencyKey: 'late', timeout: 100 }));
    sandbox.setFaults({});
    const body = FIVE_DOLLARS_FORM;
    const retry = await fixture.post('/v1/payment_intents', body, headers);
    expect(retry).toMatchObject({ status: 200, headers: { 'idempotent-replayed': 'true' } });
    expect(sandbox.stats().stripe.executedCharges).toBe(1);
  });

  test('probabilities repeat with their seed, spare reads and free routes, hit about as often as told', async () => {
    const strikes = async (seed: number) => {
      sandbox.reset();
      sandbox.setFaults({ seed, rate429: 0.3 });
      const statuses: number[] = [];
      for (let sent = 0; sent < 200; sent += 1) {
        // oxlint-disable-next-line no-await-in-loop
        statuses.push(await statusOfOne());
      }
      return statuses;
    };
    const first = await strikes(7);
    expect(await strikes(7)).toEqual(first);
    expect(await strikes(8)).not.toEqual(first);
    const struck = first.filter((status) => status === 429).length;
    expect(struck).toBeGreaterThan(35);
    expect(struck).toBeLessThan(85);

    sandbox.setFaults({ rate429: 1 });
    expect((await fixture.call('GET', '/v1/payment_intents')).status).toBe(200);
    expect((await fixture.post('/v1/customers', '')).status).toBe(200);
    sandbox.setFaults({ rate429: 1, all: true });
    expect((await fixture.call('GET', '/v1/payment_intents')).status).toBe(429);
  });

  test('above the limit per second: 429, until the next second', async () => {
    sandbox.setFaults({ limitPerSecond: 2 });
    expect([await statusOfOne(), await statusOfOne(), await statusOfOne()]).toEqual([200, 200, 429]);
    fixture.clock.nowMs += 1000;
    expect(await statusOfOne()).toBe(200);
  });

  test('a 429 says after how many seconds to come back', async () => {
    sandbox.setFaults({ rate429: 1 });
    const { status, headers } = await fixture.post('/v1/payment_intents', FIVE_DOLLARS_FORM);
    expect([status, headers['retry-after']]).toEqual([429, '1']);
  });
});

test('a stand-in with a limit keeps it through resets, and counts every call against it, reads too', async () => {
  const limited = await startSandbox({ limitPerSecond: 2, now: () => START_MS });
  const get = () => fetch(`${limited.url}/v1/payment_intents`, { headers: { authorization: 'Bearer sk_test_1' } });
  const statuses = async () => [(await get()).status, (await get()).status, (await get()).status];
  expect(await statuses()).toEqual([200, 200, 429]);
  const { error } = (await (await get()).json()) as { error: { code: string } };
  expect(error.code).toBe('rate_limit');
  expect(limited.stats().stripe.limited).toBe(2);
  limited.reset();
  expect(await statuses()).toEqual([200, 200, 429]);
  await limited.stop();
});

describe('the server', () => {
  test.each([
    'GARBAGE\r\n\r\n',
    'POST /v1/payment_intents HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\namount=1',
    'GET /v1/%zz%%?limit[[[=%e0%a4 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\n\r\n',
  ])('survives %j', async (text) => {
    await new Promise<void>((resolve) => {
      const socket = connect(sandbox.port, '127.0.0.1', () => socket.write(text));
      socket.on('close', () => resolve()).on('error', () => resolve());
      socket.on('data', () => socket.destroy());
      setTimeout(() => socket.destroy(), 100);
    });
    expect((await fixture.call('GET', '/v1/charges')).status).toBe(200);
  });

  test.each([
    ['broken encoding', `amount=%zz`],
    ['deep nesting', `a${'[a]'.repeat(50_000)}=1`],
    ['very many fields', 'a[]=1&'.repeat(100_000)],
    ['binary', String.fromCodePoint(...Array.from({ length: 256 }, (_, code) => code))],
  ])('answers %s with a 400', async (_name, body) => {
    expect((await fixture.post('/v1/payment_intents', body)).status).toBe(400);
  });

  test('listens on loopback only, and stops at once with connections open', async () => {
    await expect(startSandbox({ host: '0.0.0.0' })).rejects.toThrow('loopback');
    const other = await startSandbox({ log: false });
    expect(await clientOf(other, 'any').paymentIntents.create(FIVE_DOLLARS)).toMatchObject({ status: 'succeeded' });
    expect(other.requests()).toEqual([]);
    await other.stop();
    await expect(request(other.url)).rejects.toThrow('ECONNREFUSED');
  });
});
