/** Stripe's own Python SDK, unmodified, from PyPI: its exceptions, one attempt each, and money told right. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import { startPython } from './support/python';
import { countReceived, type Received } from './support/received';
import { balanced, books, type Rig, startRig } from './support/rig';

interface Outcome {
  readonly id?: string;
  readonly status?: string;
  readonly exception?: string;
  readonly code?: string;
  readonly http_status?: number;
  readonly message?: string;
  readonly request_id?: string;
}

describe('stripe==16.1.0 for Python', () => {
  let rig: Rig;
  let received: Received;
  let child: ChildProcess;
  let lines: Interface;
  let goodKeyId: string;

  beforeAll(async () => {
    rig = await startRig();
    received = countReceived(rig.proxy.port);
    const good = await rig.issue({ usd_cap: 100 });
    const revoked = await rig.issue({ usd_cap: 100 });
    await rig.client.revokeKey(revoked.key_id, 'stop');
    goodKeyId = good.key_id;
    const keys = {
      good: good.vault_key,
      cap_exhausted: (await rig.issue({ usd_cap: 4 })).vault_key,
      per_call_cap_exceeded: (await rig.issue({ usd_cap: 100, max_usd_per_call: 1 })).vault_key,
      key_revoked: revoked.vault_key,
      key_invalid: 'vk_wrong',
    };
    child = await startPython('stripe_sdk.py', [rig.proxy.url, JSON.stringify(keys)]);
    lines = createInterface({ input: child.stdout! });
  }, 300_000);

  afterAll(async () => {
    const ended = once(child, 'close');
    child.stdin!.end();
    await ended;
    received.stop();
    await rig.close();
  });

  beforeEach(() => void received.take());

  async function act(name: string): Promise<Outcome> {
    const answered = once(lines, 'line');
    child.stdin!.write(`${name}\n`);
    return JSON.parse(String((await answered)[0])) as Outcome;
  }

  test('a charge succeeds, is settled once, and its second call with the same key is a replay', async () => {
    const first = await act('good');
    expect(first).toMatchObject({ status: 'succeeded', id: expect.stringMatching(/^pi_/) });
    expect(await act('replayed')).toEqual(first);
    expect(received.take()).toBe(2);
    expect(await books(rig, goodKeyId)).toEqual(balanced(1, 5));
    expect((await act('globals')).status).toBe('succeeded');
    expect(rig.sandbox.charges().at(-1)?.metadata).toEqual({ 'order id': '7&amount=1' });
    expect(await books(rig, goodKeyId)).toEqual(balanced(2, 10));
  });

  test.each([
    ['cap_exhausted', 'RateLimitError', 429],
    ['key_revoked', 'AuthenticationError', 401],
    ['key_invalid', 'AuthenticationError', 401],
    ['endpoint_not_allowed', 'PermissionError', 403],
    ['per_call_cap_exceeded', 'PermissionError', 403],
    ['currency_not_allowed', 'PermissionError', 403],
    ['request_unpriceable', 'InvalidRequestError', 400],
    ['card_declined', 'CardError', 402],
  ])('%s raises %s after one attempt, with the code in e.error.code', async (code, exception, status) => {
    const outcome = await act(code);
    expect(outcome).toMatchObject({ exception, code, http_status: status, request_id: expect.stringMatching(/./) });
    if (code !== 'card_declined') expect(outcome.message).toContain(code);
    expect({ attempts: received.take() }).toEqual({ attempts: 1 });
  });

  test('the SDK’s own retries resolve what the vendor answered to nobody: one charge', async () => {
    const before = rig.sandbox.stats().stripe.executedCharges;
    rig.sandbox.setFaults({ dropAfter: { first: 1 } });
    expect((await act('retried')).status).toBe('succeeded');
    expect(received.take()).toBe(2);
    expect(await books(rig, goodKeyId)).toEqual(balanced(before + 1, (before + 1) * 5));
  });
});
