import type { z } from '@hono/zod-openapi';
import type { IssueKeyBody, ResolveBody } from '../proxy/contract';
import type { issueKeyBody, resolveBody } from '../proxy/control/schemas';
import { StoreError } from '../proxy/stores/store';
import { apiError, BODY, type Control, startControl, WORKER } from './support/control';

/** `satisfies` in schemas.ts says that what passes is right; this says that no field of the contract is missing. */
type AllFieldsOf<Contract, Read> = Exclude<keyof Contract, keyof Read> extends never ? true : never;
const complete: readonly true[] = [
  true satisfies AllFieldsOf<IssueKeyBody, z.infer<typeof issueKeyBody>>,
  true satisfies AllFieldsOf<ResolveBody, z.infer<typeof resolveBody>>,
];

interface ErrorBody {
  readonly error: { code: string; message: string; issues: { path: string; message: string }[] };
}

describe('issuing a vault key', () => {
  let control: Control;
  beforeAll(async () => (control = await startControl({ fxFloor: { eur: 1.1 } })));
  afterAll(() => control.close());

  const issuesOf = async (body: unknown): Promise<Record<string, string>> => {
    const answer = await control.post('/vault/keys', body);
    expect(answer.status).toBe(400);
    const { error } = (await answer.json()) as ErrorBody;
    expect(error.code).toBe('invalid_request');
    return Object.fromEntries(error.issues.map(({ path, message }) => [path, message]));
  };

  it('answers 201 with every field as understood, the vault key and where to point the SDK', async () => {
    const answer = await control.post('/vault/keys', {
      ...BODY,
      allowed_endpoints: ['post /v1/payment_intents', 'GET /v1/refunds/{refund}'],
      daily_usd_cap: 40.5,
      max_usd_per_call: 1.000001,
      fx: { eur: 1.2 },
      lease: 60,
      metadata: { team: 'billing' },
    });
    expect(answer.status).toBe(201);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    const key = (await answer.json()) as Record<string, unknown>;
    expect(key).toMatchObject({
      vendor: 'stripe',
      account: 'stripe',
      agent_run_label: BODY.agent_run_label,
      job_id: null,
      parent_key_id: null,
      usd_cap: 100,
      daily_usd_cap: 40.5,
      max_usd_per_call: 1.000001,
      allowed_endpoints: ['POST /v1/payment_intents', 'GET /v1/refunds/:id'],
      fx: { eur: 1.2 },
      require_idempotency_key: false,
      on_cap: 'latch',
      lease_seconds: 60,
      metadata: { team: 'billing' },
      issued_by: 'admin',
      revoked_at: null,
      state: 'active',
      exhausted_by: null,
      vault_key: control.vaultKeyFor(String(key['key_id'])),
      base_url: 'http://127.0.0.1:8787/stripe',
    });
    expect(Date.parse(String(key['expires_at'])) - Date.parse(String(key['created_at']))).toBe(4 * 3_600_000);
    expect(key['spend']).toMatchObject({ settled_usd: 0, remaining_usd: 40.5, calls: { held: 0, refused: 0 } });
  });

  it('lists all that is wrong at once, with the nearest known names', async () => {
    const issues = await issuesOf({
      vendor: 'stripe',
      usdCap: 100,
      allowed_endpoints: ['POST /v1/payment_intent', 'POST /v1/payment_intents'],
      expires_in: '4',
      agent_run_label: 'two\nlines',
      account: 'us',
      fx: { eur: 1.05, usd: 1 },
      zzzzzzzzzzzz: 1,
    });
    expect(issues['usdCap']).toContain('did you mean usd_cap?');
    expect(issues['zzzzzzzzzzzz']).toContain('known are vendor, usd_cap');
    expect(issues['usd_cap']).toContain('give usd_cap');
    expect(issues['allowed_endpoints.0']).toContain('POST /v1/payment_intents');
    expect(issues['allowed_endpoints.1']).toBeUndefined();
    expect(issues['expires_in']).toContain('"4h"');
    expect(issues['agent_run_label']).toContain('printable');
    expect(issues['account']).toContain('configured are stripe, eu');
    expect(issues['fx.usd']).toBeDefined();
  });

  it.each([
    ['usd_cap', 0.0000001],
    ['usd_cap', -1],
    ['usd_cap', 1e10],
    ['usd_cap', '100'],
    ['daily_usd_cap', null],
    ['max_usd_per_call', 1e-7],
    ['expires_in', '91d'],
    ['expires_in', 0.5],
    ['expires_in', -3600],
    ['expires_in', '4 h 5'],
    ['lease', '9s'],
    ['allowed_endpoints', []],
    ['allowed_endpoints', 'POST /v1/payment_intents'],
    ['agent_run_label', ''],
    ['agent_run_label', 'x'.repeat(201)],
    ['job_id', '\ud800'],
    ['metadata', Object.fromEntries(Array.from({ length: 51 }, (_, i) => [`m${i}`, 'x']))],
    ['on_cap', 'ignore'],
    ['vendor', 'strip'],
  ])('refuses %s %.40p and names the field', async (field, value) => {
    expect(await issuesOf({ ...BODY, [field]: value })).toHaveProperty(field);
  });

  it('says what a lifetime that is missing, and a currency in capitals, should be', async () => {
    const { expires_in: _, ...endless } = BODY;
    const issues = await issuesOf({ ...endless, fx: { EUR: 1.2 } });
    expect(issues).toMatchObject({
      expires_in: expect.stringContaining('such as "4h"'),
      'fx.EUR': 'a lower-case currency code other than usd',
    });
  });

  it("never lets an fx rate below the operator's floor", async () => {
    expect(await issuesOf({ ...BODY, fx: { eur: 1.09 } })).toEqual({ 'fx.eur': "below the operator's floor of 1.1" });
    await control.admin.issueKey({ ...BODY, fx: { eur: 1.1 } });
  });

  it('gives the same key back for the same idempotency key and body, also once it is dead', async () => {
    const first = await control.admin.issueKey(BODY, 'run-1');
    const again = await control.admin.issueKey({ ...BODY }, 'run-1');
    expect(again).toEqual(first);
    await control.admin.revokeKey(first.key_id, 'over');
    expect(await control.admin.issueKey(BODY, 'run-1')).toMatchObject({ key_id: first.key_id, state: 'revoked' });
    expect((await control.admin.issueKey(BODY, 'run-2')).key_id).not.toBe(first.key_id);
  });

  it('makes one key of requests with one idempotency key that arrive together', async () => {
    const keys = await Promise.all(Array.from({ length: 8 }, () => control.admin.issueKey(BODY, 'together')));
    expect(new Set(keys.map((key) => key.vault_key)).size).toBe(1);
  });

  it('refuses an idempotency key with another body, and keeps those of the roles apart', async () => {
    const first = await control.admin.issueKey(BODY, 'shared');
    const other = await apiError(control.admin.issueKey({ ...BODY, usd_cap: 101 }, 'shared'));
    expect(other).toMatchObject({ status: 409, code: 'conflict' });
    expect((await control.worker.issueKey(BODY, 'shared')).key_id).not.toBe(first.key_id);
  });

  it('reads only JSON, of at most 256 KB', async () => {
    const bad = await control.ask('/vault/keys', { method: 'POST', body: '{"vendor":' });
    expect([bad.status, ((await bad.json()) as ErrorBody).error.code]).toEqual([400, 'invalid_request']);
    const form = { method: 'POST', body: 'a=b', headers: { 'content-type': 'application/x-www-form-urlencoded' } };
    expect((await control.ask('/vault/keys', form)).status).toBe(400);
    const large = await control.post('/vault/keys', { ...BODY, metadata: { x: 'x'.repeat(300_000) } });
    expect([large.status, ((await large.json()) as ErrorBody).error.code]).toEqual([413, 'payload_too_large']);
    // Its connection is cut, so the next call must not go there: it may be the one that revokes.
    expect(large.headers.get('connection')).toBe('close');
    expect(complete).toHaveLength(2);
  });
});

describe('roles', () => {
  let control: Control;
  beforeAll(async () => (control = await startControl({ workerMaxMicros: 200_000_000 })));
  afterAll(() => control.close());

  it.each(['', 'Bearer', 'Bearer wrong-key', 'Basic YWRtaW4ta2V5LWZvci10ZXN0czo=', `Bearer ${WORKER}x`])(
    'refuses %p with 401 on every path below /vault',
    async (authorization) => {
      for (const path of ['/vault/keys', '/vault/calls', '/vault/nowhere', '/vault']) {
        const answer = await control.ask(path, { headers: { authorization } });
        expect([path, answer.status]).toEqual([path, 401]);
        expect(await answer.text()).not.toContain('admin-key');
      }
    },
  );

  it("lets a worker do its own keys' calls only, and says so", async () => {
    const { key_id: theirs } = await control.admin.issueKey(BODY);
    const { key_id: own } = await control.worker.issueKey(BODY);
    const worker = control.worker;
    for (const refused of [
      worker.getKey(theirs),
      worker.patchKey(theirs, { usd_cap: 150 }),
      worker.renewKey(theirs),
      worker.tokenFor(theirs),
      worker.revokeKey(theirs, 'no'),
      worker.listKeys(),
      worker.resolveCall('call_1', { outcome: 'released' }),
    ]) {
      expect(await apiError(refused)).toMatchObject({ status: 403, code: 'forbidden' });
    }
    expect((await control.admin.getKey(theirs)).state).toBe('active');
    expect((await worker.getKey(own)).issued_by).toBe('worker');
    expect((await control.admin.revokeKey(own, 'admins may')).state).toBe('revoked');
  });

  it('bounds the cap that a worker sets, at issue and later, per key and per job', async () => {
    const worker = control.worker;
    const { usd_cap: _, ...uncapped } = { ...BODY, daily_usd_cap: 5 };
    for (const refused of [
      worker.issueKey({ ...BODY, usd_cap: 200.000001 }),
      worker.issueKey(uncapped),
      worker.issueKey({ ...BODY, usd_cap: 201, job_id: 'bound' }),
    ]) {
      expect(await apiError(refused)).toMatchObject({ status: 403, issues: [{ path: 'usd_cap' }] });
    }
    const { key_id: id } = await worker.issueKey({ ...BODY, usd_cap: 200, job_id: 'bound' });
    expect((await apiError(worker.patchKey(id, { usd_cap: 201 }))).status).toBe(403);
    expect((await apiError(worker.patchJob('bound', { usd_cap: 201 }))).status).toBe(403);
    expect((await control.admin.patchJob('bound', { usd_cap: 1_000 })).usd_cap).toBe(1_000);
    expect((await apiError(control.admin.getJob('nowhere'))).status).toBe(404);
  });

  it('hands the vault key out again for a live key only, and keeps a record of it', async () => {
    const key = await control.worker.issueKey(BODY);
    const token = await control.worker.tokenFor(key.key_id);
    expect(token).toMatchObject({ vault_key: key.vault_key, base_url: key.base_url });
    expect(control.events.at(-1)).toMatchObject({ kind: 'key.token', actor: 'worker', key_id: key.key_id });
    expect(JSON.stringify(control.events)).not.toContain(key.vault_key);
    await control.worker.revokeKey(key.key_id, 'over');
    expect(await apiError(control.worker.tokenFor(key.key_id))).toMatchObject({ status: 409, code: 'conflict' });
    expect((await apiError(control.worker.tokenFor('key_none'))).status).toBe(404);
  });
});

describe('faults', () => {
  let control: Control;
  beforeAll(async () => (control = await startControl()));
  afterAll(() => control.close());

  it('a store that cannot be written is 503, a bug is 500, and neither tells what broke', async () => {
    const hold = control.ledger.hold.bind(control.ledger);
    control.ledger.hold = () => Promise.reject(new StoreError('SQLITE_IOERR at /secret/path'));
    const down = await apiError(control.admin.issueKey(BODY));
    control.ledger.hold = () => Promise.reject(new Error('sk_live_secret'));
    const bug = await apiError(control.admin.issueKey(BODY));
    control.ledger.hold = hold;
    expect([down.status, down.code, bug.status, bug.code]).toEqual([503, 'store_unavailable', 500, 'internal']);
    expect(down.message + bug.message).not.toMatch(/secret|SQLITE/);
  });

  it('answers a method that a path does not take with 405, and names those that it takes', async () => {
    const answers = await Promise.all([
      control.ask('/vault/keys', { method: 'PUT' }),
      control.ask('/vault/keys/key_1', { method: 'POST' }),
      control.ask('/vault/keys/key_1/renew'),
      control.ask('/healthz', { method: 'DELETE' }),
    ]);
    const said = answers.map(({ status, headers }) => [status, headers.get('allow')]);
    expect(said).toEqual([
      [405, 'GET, POST'],
      [405, 'GET, PATCH, DELETE'],
      [405, 'POST'],
      [405, 'GET'],
    ]);
    const message = 'This path takes GET or POST, not PUT.';
    expect(await answers[0]?.json()).toEqual({ error: { code: 'method_not_allowed', message, issues: [] } });
  });

  it('answers unknown paths with 404 in the shape of every other error', async () => {
    const answer = await control.ask('/vault/nowhere');
    expect(answer.status).toBe(404);
    expect(await answer.json()).toEqual({ error: { code: 'not_found', message: expect.any(String), issues: [] } });
    expect((await control.ask('/vault/keys', { method: 'HEAD' })).status).toBe(200);
  });
});
