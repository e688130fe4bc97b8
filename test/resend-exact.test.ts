/** Resend to the e-mail: what a batch costs, and that a retry without an idempotency key sends nothing twice. */
import { Resend } from 'resend';
import type { IssuedKey, IssueKeyBody } from '../proxy/contract';
import { addKey, claimOf, fixed, reserveInput, settledAt, STORES, type TestLedger, testLedger } from './support/ledger';
import { reserve } from '../proxy/ledger/reserve';
import { startVendorRig, type VendorRig } from './support/vendorRig';

const SENDS = ['POST /emails', 'POST /emails/batch', 'POST /emails/:id/cancel'];
const HOUR_MS = 3_600_000;

let rig: VendorRig;
beforeAll(async () => {
  rig = await startVendorRig();
});
afterAll(() => rig.close());
beforeEach(() => rig.sandbox.reset());

const issue = (body: Partial<IssueKeyBody> = {}) => rig.issue({ vendor: 'resend', allowed_endpoints: SENDS, ...body });
const spend = async (key: IssuedKey) => (await rig.proxy.client.getKey(key.key_id)).spend;
const mailTo = (name: string) => ({
  from: 'a@b.test',
  to: [`${name}.to@c.test`],
  cc: [`${name}.cc@c.test`],
  bcc: [`${name}.bcc@c.test`],
  subject: 'hi',
  text: 'x',
});
const MAIL = mailTo('one');
const BATCH = Array.from({ length: 100 }, (_, n) => mailTo(`n${n}`));

interface Sent {
  readonly ok: boolean;
  readonly code: string | undefined;
  readonly ids: readonly string[];
}
type Sender = (key: IssuedKey, batch: readonly object[]) => Promise<Sent>;

/** Ways to send a batch, none of which says an idempotency key. */
const SENDERS: readonly (readonly [name: string, send: Sender])[] = [
  [
    'the npm package',
    async (key, batch) => {
      const client = new Resend(key.vault_key, { baseUrl: `${rig.proxy.url}/resend` });
      const { data, error } = await client.batch.send(batch as (typeof MAIL)[]);
      return { ok: error === null, code: error?.name, ids: data?.data.map(({ id }) => id) ?? [] };
    },
  ],
  [
    'plain HTTP',
    async (key, batch) => {
      const answer = await post(key, '/emails/batch', batch);
      const ids = (answer.json.data ?? []).map(({ id }) => id);
      return { ok: answer.status === 200, code: answer.json.name, ids };
    },
  ],
];

interface Answered {
  readonly id?: string;
  readonly name?: string;
  readonly data?: { readonly id: string }[];
}

async function post(key: IssuedKey, path: string, body: unknown, headers: Record<string, string> = {}) {
  const reply = await fetch(`${rig.proxy.url}/resend${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key.vault_key}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  return { status: reply.status, headers: reply.headers, json: (await reply.json()) as Answered };
}

const keysSent = () => rig.sandbox.requests().map(({ headers }) => headers['idempotency-key']);

describe.each(SENDERS)('a batch of 100 with three recipients each, by %s', (_name, send) => {
  test("a retry without the client's own key sends nothing twice", async () => {
    const key = await issue();
    rig.sandbox.setFaults({ dropAfter: { first: 1 } }, 'resend');
    expect(await send(key, BATCH)).toMatchObject({ ok: false, code: 'outcome_unknown' });
    expect(await spend(key)).toMatchObject({ settled_usd: 0, unknown_usd: 0.27 });

    const retried = await send(key, BATCH);
    expect(retried.ids).toHaveLength(100);
    const again = await send(key, BATCH);
    expect(again.ids).toEqual(retried.ids);

    const { emails, recipients, chargedUsd, duplicates } = rig.sandbox.stats().resend;
    expect({ emails, recipients, chargedUsd, twice: duplicates.contents }).toEqual({
      emails: 100,
      recipients: 300,
      chargedUsd: 0.27,
      twice: [],
    });
    expect(await spend(key)).toMatchObject({ settled_usd: 0.27, held_usd: 0, unknown_usd: 0 });
    // The third came from the ledger; the second was the first again, byte for byte.
    const [first, second, ...more] = rig.sandbox.requests();
    expect(second).toMatchObject({
      body: first!.body,
      headers: { 'idempotency-key': first!.headers['idempotency-key'] },
    });
    expect(more).toEqual([]);
  });

  test('sent fifteen times at once it is sent once', async () => {
    const key = await issue();
    const small = BATCH.slice(0, 2);
    const all = await Promise.all(Array.from({ length: 15 }, () => send(key, small)));
    expect(new Set(all.map(({ ids }) => ids.join()))).toEqual(
      new Set([
        rig.sandbox
          .emails()
          .map(({ id }) => id)
          .join(),
      ]),
    );
    expect(await spend(key)).toMatchObject({ settled_usd: 0.0054, held_usd: 0, unknown_usd: 0 });
  });
});

describe('what is the same e-mail', () => {
  test('the same in another order of its fields, and by another key of the job, is', async () => {
    const [one, other] = [await issue({ job_id: 'mails', usd_cap: 1 }), await issue({ job_id: 'mails', usd_cap: 1 })];
    const { to, ...rest } = MAIL;
    const first = await post(one, '/emails', { to, ...rest });
    const second = await post(other, '/emails', { ...rest, to });
    expect(second.json).toEqual(first.json);
    expect(second.headers.get('idempotent-replayed')).toBe('true');
    expect(rig.sandbox.emails()).toHaveLength(1);
  });

  test.each<[string, object]>([
    ['another text', { ...MAIL, text: 'y' }],
    ['another recipient', { ...MAIL, bcc: 'd@c.test' }],
    ['another time', { ...MAIL, scheduled_at: new Date(Date.now() + HOUR_MS).toISOString() }],
  ])('%s is not', async (_what, other) => {
    const key = await issue();
    await post(key, '/emails', MAIL);
    await post(key, '/emails', other);
    expect(rig.sandbox.emails()).toHaveLength(2);
    expect(new Set(keysSent()).size).toBe(2);
  });

  test('that of another job is not; with keys or record ids of their own two are two, in one job too', async () => {
    const [one, other] = [await issue(), await issue()];
    await post(one, '/emails', MAIL);
    await post(other, '/emails', MAIL);
    expect(rig.sandbox.emails()).toHaveLength(2);
    await post(one, '/emails', MAIL, { 'idempotency-key': 'second' });
    await post(one, '/emails', MAIL, { 'keybrake-record-id': 'third' });
    expect(rig.sandbox.emails()).toHaveLength(4);
    expect(new Set(keysSent()).size).toBe(4);
    expect((await spend(one)).settled_usd).toBe(0.0081);
  });

  test('one that Resend refused costs nothing, and is asked for again', async () => {
    const key = await issue();
    for (let tries = 1; tries <= 2; tries += 1) {
      expect((await post(key, '/emails', { ...MAIL, from: 'nobody' })).status).toBe(422);
      expect(rig.sandbox.requests()).toHaveLength(tries);
    }
    expect(await spend(key)).toMatchObject({ settled_usd: 0, held_usd: 0, unknown_usd: 0 });
  });

  describe.each(STORES)('on $name', ({ open }) => {
    let at: TestLedger;
    beforeEach(() => {
      at = testLedger(open);
    });
    afterEach(() => at.close());

    test('an executed call keeps its claim for its time, an unknown one for ever', async () => {
      const facts = await addKey(at.ledger, { cap: 100, expiresAt: Date.now() + 48 * HOUR_MS });
      const ask = (scope: string, inMs: number) => {
        const claim = { ...claimOf(scope), forMs: 25 * HOUR_MS };
        const input = reserveInput(facts, { price: fixed(1), claim });
        return at.ledger.hold((rows, now) => ({ ...reserve(rows, now + inMs, input), callId: input.call.callId }));
      };
      const [done, open1] = [await ask('done', 0), await ask('open', 0)];
      await at.end(done.callId, settledAt(1));
      expect(await ask('done', 24 * HOUR_MS)).toMatchObject({ kind: 'replay' });
      expect(await ask('done', 26 * HOUR_MS)).toMatchObject({ kind: 'held' });
      expect(await ask('done', 26 * HOUR_MS)).toMatchObject({ kind: 'in_progress' });
      await at.end(open1.callId, { state: 'unknown', httpStatus: null, code: null });
      expect(await ask('open', 26 * HOUR_MS)).toMatchObject({ refusal: { code: 'outcome_unknown' } });
    });
  });
});

describe('the ledger has what Resend bills', () => {
  const total = () => rig.sandbox.stats().resend.chargedUsd + rig.sandbox.stats().resend.openMicros / 1e6;
  const bad = { ...MAIL, from: '' };

  test.each<[string, object, readonly object[], number]>([
    ['strict, all good', {}, BATCH.slice(0, 3), 9],
    ['strict, one bad: none is sent', {}, [MAIL, bad, mailTo('two')], 0],
    ['permissive, all good', { 'x-batch-validation': 'permissive' }, BATCH.slice(0, 3), 9],
    ['permissive, two of four bad', { 'x-batch-validation': 'permissive' }, [bad, MAIL, bad, mailTo('two')], 6],
    ['permissive, all bad', { 'x-batch-validation': 'permissive' }, [bad, bad], 0],
  ])('a batch, %s', async (_what, headers, batch, recipients) => {
    const key = await issue();
    await post(key, '/emails/batch', batch, headers as Record<string, string>);
    expect(await spend(key)).toMatchObject({ settled_usd: (recipients * 900) / 1e6, held_usd: 0, unknown_usd: 0 });
    expect(total()).toBe((recipients * 900) / 1e6);
  });

  test('to, cc and bcc count each; canceling gives all of it back, to the one who paid', async () => {
    const job = { job_id: 'scheduled', usd_cap: 1, daily_usd_cap: 1 };
    const [payer, other] = [await issue(job), await issue()];
    const later = { ...MAIL, to: ['a@b.test', 'c@d.test'], scheduled_at: new Date(Date.now() + HOUR_MS).toISOString() };
    const { json } = await post(payer, '/emails', later);
    expect((await spend(payer)).settled_usd).toBe(0.0036);
    expect(total()).toBe(0.0036);
    expect((await post(other, `/emails/${json.id}/cancel`, {})).status).toBe(200);
    expect((await spend(payer)).settled_usd).toBe(0);
    expect((await spend(other)).settled_usd).toBe(0);
    expect((await rig.proxy.client.getJob('scheduled')).spend.settled_usd).toBe(0);
    expect(total()).toBe(0);
  });
});
