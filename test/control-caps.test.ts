import type { Outcome } from '../proxy/ledger/finish';
import { utcDay } from '../proxy/ledger/budgets';
import { apiError, BODY, type Control, startControl } from './support/control';

const USD = 1_000_000;
const settled = (micros: number): Outcome => ({
  state: 'settled',
  httpStatus: 200,
  code: null,
  spend: { micros, out: false, vendorId: 'pi_1' },
  answer: null,
});
const unknown: Outcome = { state: 'unknown', httpStatus: null, code: 'outcome_unknown' };

let control: Control;
beforeEach(async () => (control = await startControl()));
afterEach(() => control.close());

const { usd_cap: _, vendor: __, ...UNCAPPED } = BODY;
const child = (parent: string, body: object = {}) =>
  control.admin.issueKey({ ...UNCAPPED, parent_key_id: parent, ...body });

describe('jobs own caps', () => {
  it("a later key of a job spends what is left, and its own usd_cap never raises the job's", async () => {
    const first = await control.admin.issueKey({ ...BODY, job_id: 'job' });
    await control.spend(first.key_id, 60 * USD, settled(60 * USD));
    await control.admin.revokeKey(first.key_id, 'the run failed');
    const second = await control.admin.issueKey({ ...BODY, job_id: 'job', usd_cap: 500 });
    expect(second).toMatchObject({ usd_cap: 100, spend: { settled_usd: 0, remaining_usd: 40 } });
    expect(await control.admin.getJob('job')).toMatchObject({
      usd_cap: 100,
      spend: { settled_usd: 60, remaining_usd: 40 },
    });
  });

  it('a key that asks for less than its job has keeps that as its own cap', async () => {
    await control.admin.issueKey({ ...BODY, job_id: 'job' });
    const small = await control.admin.issueKey({ ...BODY, job_id: 'job', usd_cap: 10 });
    expect(small).toMatchObject({ usd_cap: 10, spend: { remaining_usd: 10 } });
    await control.admin.patchJob('job', { usd_cap: 5 });
    expect(await control.admin.getKey(small.key_id)).toMatchObject({ usd_cap: 5 });
  });

  it('a retried run that asks again for the first cap follows a raised job', async () => {
    await control.admin.issueKey({ ...BODY, job_id: 'job' });
    await control.admin.patchJob('job', { usd_cap: 300 });
    expect((await control.admin.issueKey({ ...BODY, job_id: 'job' })).usd_cap).toBe(300);
  });

  it('a job cannot begin with a daily cap alone, which every retry would have again', async () => {
    const refused = await apiError(
      control.admin.issueKey({ ...UNCAPPED, vendor: 'stripe', daily_usd_cap: 5, job_id: 'job' }),
    );
    expect(refused).toMatchObject({ status: 400, issues: [{ path: 'usd_cap' }] });
    expect((await apiError(control.admin.getJob('job'))).status).toBe(404);
  });

  it('job ids with slashes, percent signs and umlauts are found again', async () => {
    const id = 'billing/2026 50%: über=1?';
    await control.admin.issueKey({ ...BODY, job_id: id });
    expect(await control.admin.getJob(id)).toMatchObject({ job_id: id, usd_cap: 100, exhausted: false });
    expect((await control.admin.listKeys({ job_id: id })).items).toHaveLength(1);
  });
});

describe('caps change', () => {
  it('a cap is never set below what is settled, held and unknown', async () => {
    const { key_id: id } = await control.admin.issueKey(BODY);
    await control.spend(id, 20 * USD, settled(20 * USD));
    await control.spend(id, 10 * USD);
    await control.spend(id, 5 * USD, unknown);
    expect(await apiError(control.admin.patchKey(id, { usd_cap: 34.999999 }))).toMatchObject({ status: 409 });
    const lowered = await control.admin.patchKey(id, { usd_cap: 35 });
    expect(lowered.spend).toMatchObject({ settled_usd: 20, held_usd: 10, unknown_usd: 5, remaining_usd: 0 });
    expect(lowered.spend.calls).toMatchObject({ settled: 1, held: 1, unknown: 1 });
  });

  it('the cap of a key that follows its job is the cap of the job', async () => {
    const key = await control.admin.issueKey({ ...BODY, job_id: 'job' });
    expect((await control.admin.patchKey(key.key_id, { usd_cap: 250 })).usd_cap).toBe(250);
    expect((await control.admin.getJob('job')).usd_cap).toBe(250);
    const small = await control.admin.issueKey({ ...BODY, job_id: 'job', usd_cap: 10 });
    expect((await apiError(control.admin.patchKey(small.key_id, { usd_cap: 251 }))).message).toContain('job job');
    expect((await control.admin.patchKey(small.key_id, { usd_cap: 20 })).usd_cap).toBe(20);
    expect((await control.admin.getJob('job')).usd_cap).toBe(250);
  });

  it('a raised cap un-latches and wakes those who wait; the same cap again does not', async () => {
    const { key_id: id } = await control.admin.issueKey({ ...BODY, job_id: 'job' });
    await control.changeBudget('job:job', { latched: 1 });
    expect(await control.admin.getKey(id)).toMatchObject({ state: 'exhausted', exhausted_by: 'job job' });
    expect((await control.admin.getJob('job')).exhausted).toBe(true);
    expect((await control.admin.patchJob('job', { usd_cap: 100 })).exhausted).toBe(true);
    expect((await control.admin.patchJob('job', { usd_cap: 90 })).exhausted).toBe(true);
    const before = control.state.wakes;
    expect((await control.admin.patchJob('job', { usd_cap: 91 })).exhausted).toBe(false);
    expect(control.state.wakes).toBe(before + 1);
    expect(await control.admin.getKey(id)).toMatchObject({ state: 'active', exhausted_by: null });
  });

  it("a job's cap can be raised when no key of it is alive", async () => {
    const { key_id: id } = await control.admin.issueKey({ ...BODY, job_id: 'job' });
    await control.admin.revokeKey(id, 'over');
    expect((await control.admin.patchJob('job', { usd_cap: 101 })).usd_cap).toBe(101);
    expect(await apiError(control.admin.patchKey(id, { usd_cap: 102 }))).toMatchObject({ status: 409 });
    expect(control.events.at(-1)).toMatchObject({ kind: 'job.patched', actor: 'admin', job_id: 'job' });
  });

  it("a latched day exhausts the key until midnight, and yesterday's latch does not", async () => {
    const { key_id: id } = await control.admin.issueKey({ ...BODY, daily_usd_cap: 10 });
    await control.spend(id, 1 * USD, settled(1 * USD));
    expect((await control.admin.getKey(id)).spend.remaining_usd).toBe(9);
    const today = utcDay(Date.now());
    await control.changeBudget(`day:${id}:${today}`, { latched: 1 });
    expect((await control.admin.getKey(id)).exhausted_by).toBe(`day ${id}:${today}`);
    await control.changeBudget(`day:${id}:${today}`, { latched: 0 });
    await control.ledger.submit((rows) => {
      const day = rows.get('budgets', `day:${id}:${today}`)!;
      rows.put('budgets', { ...day, budget_id: `day:${id}:2020-01-01`, latched: 1 });
    });
    expect((await control.admin.getKey(id)).state).toBe('active');
  });
});

describe('lives', () => {
  it('the expiry moves later only, and a dead key stays dead', async () => {
    const { key_id: id, expires_at: before } = await control.admin.issueKey(BODY);
    expect((await apiError(control.admin.patchKey(id, { expires_in: '1h' }))).status).toBe(409);
    const later = await control.admin.patchKey(id, { expires_in: '5h' });
    expect(Date.parse(later.expires_at)).toBeGreaterThan(Date.parse(before));
    await control.changeKey(id, { expires_at: 1 });
    expect((await control.admin.getKey(id)).state).toBe('expired');
    expect((await apiError(control.admin.patchKey(id, { expires_in: '5h' }))).status).toBe(409);
    expect((await apiError(control.admin.tokenFor(id))).status).toBe(409);
    expect((await apiError(control.admin.patchKey(id, {}))).status).toBe(400);
  });

  it('renewing revives a key whose lease alone has lapsed, until its expiry', async () => {
    const { key_id: id } = await control.worker.issueKey({ ...BODY, lease: '10m' });
    await control.changeKey(id, { lease_until: 1 });
    expect((await control.worker.getKey(id)).state).toBe('expired');
    expect((await apiError(control.worker.patchKey(id, { usd_cap: 200 }))).message).toContain('renew');
    const renewed = await control.worker.renewKey(id);
    expect(renewed.state).toBe('active');
    await control.changeKey(id, { expires_at: Date.now() + 60_000 });
    const last = await control.worker.renewKey(id);
    expect(last.lease_expires_at).toBe(last.expires_at);
    await control.changeKey(id, { expires_at: 1 });
    expect((await apiError(control.worker.renewKey(id))).status).toBe(409);
  });

  it('a key without a lease, or a revoked one, cannot be renewed', async () => {
    const plain = await control.admin.issueKey(BODY);
    expect((await apiError(control.admin.renewKey(plain.key_id))).message).toContain('without a lease');
    const leased = await control.admin.issueKey({ ...BODY, lease: '10m' });
    await control.admin.revokeKey(leased.key_id, 'over');
    expect((await apiError(control.admin.renewKey(leased.key_id))).message).toContain('revoked');
  });

  it('revoking is idempotent, keeps the first time, and stops what is queued in this process', async () => {
    const { key_id: id } = await control.admin.issueKey(BODY);
    const first = await control.admin.revokeKey(id, 'wrong file');
    expect(first).toEqual({ key_id: id, state: 'revoked', revoked_at: expect.any(String), in_flight: 7 });
    const second = await control.admin.revokeKey(id, 'again');
    expect(second).toMatchObject({ state: 'revoked', revoked_at: first.revoked_at });
    expect(await control.admin.getKey(id)).toMatchObject({ state: 'revoked', revoke_reason: 'wrong file' });
    expect(control.killed).toEqual([id, id]);
    expect((await apiError(control.admin.revokeKey('key_none', 'x'))).status).toBe(404);
    expect(control.killed).toHaveLength(2);
  });
});

describe('revoking, whatever its words are', () => {
  const reasons = {
    'of two lines': ['stop\nthe\tDAG', 'stop the DAG'],
    'that is long': ['x'.repeat(3_000), 'x'.repeat(500)],
    'of half a pair of surrogates': ['stop \ud83d', 'stop \ufffd'],
    'that is empty': ['', null],
    'of control characters alone': ['\u0000\u2028', null],
  } as const;
  it.each(Object.entries(reasons))('a reason %s revokes', async (_name, [words, kept]) => {
    const { key_id: id } = await control.admin.issueKey(BODY);
    expect(await control.admin.revokeKey(id, words)).toMatchObject({ state: 'revoked' });
    expect(await control.admin.getKey(id)).toMatchObject({ state: 'revoked', revoke_reason: kept });
  });

  it('a misspelt query revokes', async () => {
    const { key_id: id } = await control.admin.issueKey(BODY);
    expect((await control.ask(`/vault/keys/${id}?reson=x`, { method: 'DELETE' })).status).toBe(200);
    expect((await control.admin.getKey(id)).state).toBe('revoked');
  });
});

describe('jobs and workers', () => {
  it('a worker neither sees nor changes a job that is none of a worker’s', async () => {
    await control.admin.issueKey({ ...BODY, job_id: 'admin' });
    expect((await apiError(control.worker.getJob('admin'))).status).toBe(403);
    expect((await apiError(control.worker.patchJob('admin', { usd_cap: 101 }))).status).toBe(403);
    expect((await apiError(control.worker.patchJob('none', { usd_cap: 101 }))).status).toBe(404);
    expect((await control.admin.getJob('admin')).usd_cap).toBe(100);
  });

  it('a worker raises the cap of its own job, and only spends what an admin gave one', async () => {
    await control.worker.issueKey({ ...BODY, job_id: 'own' });
    expect((await control.worker.patchJob('own', { usd_cap: 101 })).usd_cap).toBe(101);
    const { items } = await control.admin.listKeys({ job_id: 'own' });
    expect((await control.worker.patchKey(items[0]!.key_id, { usd_cap: 102 })).usd_cap).toBe(102);
    await control.admin.issueKey({ ...BODY, job_id: 'given' });
    const given = await control.worker.issueKey({ ...BODY, job_id: 'given' });
    expect((await control.worker.getJob('given')).usd_cap).toBe(100);
    expect((await apiError(control.worker.patchJob('given', { usd_cap: 101 }))).status).toBe(403);
    // The key follows its job: by its id the same cap would be changed.
    expect((await apiError(control.worker.patchKey(given.key_id, { usd_cap: 101 }))).status).toBe(403);
    expect((await control.worker.patchKey(given.key_id, { expires_in: '9h' })).usd_cap).toBe(100);
  });
});

describe('what could be read in two ways', () => {
  const post = (body: string | Buffer) =>
    control.ask('/vault/keys', { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  it.each(['"usd_cap":1,"usd_cap":1000', '"usd_cap":1,"usd\\u005fcap":1000'])('a cap given twice: %s', async (caps) => {
    const rest = UNCAPPED;
    const answer = await post(`{${caps},${JSON.stringify(rest).slice(1)}`);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ error: { issues: [{ path: 'usd_cap' }] } });
  });

  it('a body that is not UTF-8: two job ids would become one', async () => {
    const body = JSON.stringify({ ...UNCAPPED, usd_cap: 1, job_id: 'caf\u00e9' });
    const answer = await post(Buffer.from(body, 'latin1'));
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ error: { message: expect.stringContaining('UTF-8') } });
  });

  it('a NUL, which no store would find and Postgres does not take', async () => {
    const paths = [
      'keys?label=%00',
      'keys?job_id=%00',
      'summary?label=%00',
      'calls?record_id=a%00',
      'drift?key_id=%00',
    ];
    for (const path of paths) {
      const answer = await control.ask(`/vault/${path}`);
      expect([path, answer.status]).toEqual([path, 400]);
      expect(await answer.json()).toMatchObject({ error: { issues: [{ message: 'without NUL characters' }] } });
    }
  });

  it('a cursor that no page gave', async () => {
    for (const path of ['/vault/keys?cursor=zzzz', '/vault/calls?cursor=garbage']) {
      expect((await control.ask(path)).status).toBe(400);
    }
  });

  it.each(['.', '..'])('a job id that no client can address: %s', async (id) => {
    expect(await apiError(control.admin.issueKey({ ...BODY, job_id: id }))).toMatchObject({
      status: 400,
      issues: [{ path: 'job_id' }],
    });
  });
});

describe('children', () => {
  it('a child inherits vendor, account, fx and per-call cap, and needs no cap of its own', async () => {
    const fx = { eur: 1.2, gbp: 1.4 };
    const parent = await control.admin.issueKey({ ...BODY, account: 'eu', fx, max_usd_per_call: 5 });
    const below = await child(parent.key_id, { max_usd_per_call: 9 });
    expect(below).toMatchObject({ vendor: 'stripe', account: 'eu', fx, max_usd_per_call: 5, usd_cap: null });
    expect(below.spend.remaining_usd).toBe(100);
    expect((await child(parent.key_id, { max_usd_per_call: 2, fx: { gbp: 1.4, eur: 1.2 } })).max_usd_per_call).toBe(2);
  });

  it.each([
    ['allowed_endpoints', { allowed_endpoints: ['POST /v1/payment_intents', 'POST /v1/refunds'] }, 'POST /v1/refunds'],
    ['account', { account: 'eu' }, 'stripe'],
    ['fx', { fx: { eur: 1.2 } }, 'none'],
  ])('a child is never wider than the key above: %s', async (path, body, named) => {
    const parent = await control.admin.issueKey(BODY);
    const { status, issues } = await apiError(child(parent.key_id, body));
    expect([status, issues]).toEqual([400, [{ path, message: expect.stringContaining(named) }]]);
  });

  it('a key without one above needs a vendor, and every other fault is named with that', async () => {
    const { status, issues } = await apiError(control.admin.issueKey({ ...UNCAPPED, expires_in: 'soon' }));
    expect([status, issues.map(({ path }) => path).toSorted()]).toEqual([400, ['expires_in', 'usd_cap', 'vendor']]);
  });

  it("a child's expiry is cut to that of the key above, at issue and later", async () => {
    const parent = await control.admin.issueKey(BODY);
    const below = await child(parent.key_id, { expires_in: '9h' });
    expect(below.expires_at).toBe(parent.expires_at);
    expect((await apiError(control.admin.patchKey(below.key_id, { expires_in: '9h' }))).status).toBe(409);
    const longer = await control.admin.patchKey(parent.key_id, { expires_in: '6h' });
    expect((await control.admin.patchKey(below.key_id, { expires_in: '9h' })).expires_at).toBe(longer.expires_at);
  });

  it('spend of a child counts on every key above, and so does a latch there', async () => {
    const parent = await control.admin.issueKey({ ...BODY, job_id: 'dag' });
    const below = await child(parent.key_id, { usd_cap: 30, daily_usd_cap: 20 });
    const lowest = await child(below.key_id);
    await control.spend(lowest.key_id, 10 * USD, settled(10 * USD));
    expect((await control.admin.getKey(parent.key_id)).spend).toMatchObject({ settled_usd: 10, remaining_usd: 90 });
    expect((await control.admin.getKey(below.key_id)).spend).toMatchObject({ settled_usd: 10, remaining_usd: 10 });
    expect((await control.admin.getKey(lowest.key_id)).spend.remaining_usd).toBe(10);
    await control.changeBudget(`key:${below.key_id}`, { latched: 1 });
    const exhausted = { state: 'exhausted', exhausted_by: `key ${below.key_id}` };
    expect(await control.admin.getKey(lowest.key_id)).toMatchObject(exhausted);
    expect((await control.admin.getKey(parent.key_id)).state).toBe('active');
  });

  it('a child dies with a key above, is shown so, and no child can be issued below a dead one', async () => {
    const parent = await control.admin.issueKey(BODY);
    const below = await child(parent.key_id);
    const lowest = await child(below.key_id);
    const { revoked_at } = await control.admin.revokeKey(parent.key_id, 'stop the DAG');
    for (const { key_id: id } of [below, lowest]) {
      const dead = { state: 'revoked', revoked_at, revoke_reason: 'stop the DAG' };
      expect(await control.admin.getKey(id)).toMatchObject(dead);
    }
    expect((await apiError(child(lowest.key_id))).status).toBe(409);
    expect((await apiError(child('key_none'))).issues).toMatchObject([{ path: 'parent_key_id' }]);
  });

  it('at most eight keys are above one key', async () => {
    let key = await control.admin.issueKey(BODY);
    for (let depth = 1; depth <= 8; depth += 1) key = await child(key.key_id);
    expect((await apiError(child(key.key_id))).issues).toMatchObject([{ path: 'parent_key_id' }]);
  });
});
