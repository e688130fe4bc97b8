import { OpenApiGeneratorV31 } from '@asteasolutions/zod-to-openapi';
import type { Outcome } from '../proxy/ledger/finish';
import { StoreError } from '../proxy/stores/store';
import { BODY, type Control, startControl } from './support/control';
import { until } from './support/until';

const USD = 1_000_000;
const unknown: Outcome = { state: 'unknown', httpStatus: null, code: 'outcome_unknown' };

let control: Control;
beforeEach(async () => (control = await startControl()));
afterEach(async () => {
  jest.restoreAllMocks();
  await control.close();
});

const open = (path: string) => fetch(control.url + path);

describe('probes', () => {
  it('are answered without a key', async () => {
    expect(await (await open('/healthz')).json()).toEqual({ status: 'ok' });
    expect(await control.worker.ready()).toEqual({ status: 'ok' });
  });

  it('not ready while the store cannot be written, nor while the proxy drains; alive all the same', async () => {
    jest.spyOn(control.ledger.store, 'ping').mockRejectedValueOnce(new StoreError('disk full at /secret'));
    const down = await open('/readyz');
    expect([down.status, await down.text()]).toEqual([503, expect.not.stringContaining('secret')]);
    expect((await open('/readyz')).status).toBe(200);
    control.state.draining = true;
    expect((await open('/readyz')).status).toBe(503);
    expect((await open('/healthz')).status).toBe(200);
  });

  it('metrics name no key, label or secret, and count open money', async () => {
    const key = await control.admin.issueKey(BODY);
    await control.spend(key.key_id, 3 * USD);
    await control.spend(key.key_id, 2 * USD, unknown);
    const text = await (await open('/metrics')).text();
    expect(text).toMatch(/^keybrake_held_usd 3$/m);
    expect(text).toMatch(/^keybrake_unknown_usd 2$/m);
    expect(text).toMatch(/^keybrake_unknown_calls 1$/m);
    expect(text).toMatch(/^keybrake_refusals_total\{code="cap_exhausted"\} 0$/m);
    expect(text).not.toMatch(/\bkey_[0-9a-z]{26}|vk_|billing|sk_test/);
  });

  it('metrics tell the age of the oldest unknown call, and how many are left to an operator', async () => {
    const gauges = async () => {
      const text = await (await open('/metrics')).text();
      const value = (name: string) => Number(new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1]);
      return [value('keybrake_unknown_oldest_seconds'), value('keybrake_stuck_calls'), value('keybrake_unknown_calls')];
    };
    const hourAgo = Date.now() - 3_600_000;
    await control.putCalls((await control.admin.issueKey(BODY)).key_id, [
      { state: 'held', created_at: hourAgo - 3_600_000 },
      { state: 'unknown', created_at: hourAgo, stuck_at: Date.now() },
      { state: 'unknown', created_at: Date.now() },
    ]);
    const [oldest = 0, ...counts] = await gauges();
    expect(Math.floor(oldest / 60)).toBe(60);
    expect(counts).toEqual([1, 2]);
  });

  it('metrics are told without the open money while the ledger cannot be read', async () => {
    jest.spyOn(control.ledger.store, 'sumOpen').mockRejectedValue(new StoreError('gone'));
    const blind = await open('/metrics');
    expect([blind.status, await blind.text()]).toEqual([200, expect.stringMatching(/^keybrake_held_usd nan$/im)]);
  });

  it('many who read the metrics at once, or one after the other, cost the ledger one reading', async () => {
    const key = await control.admin.issueKey(BODY);
    await control.spend(key.key_id, 2 * USD, unknown);
    const { store } = control.ledger;
    const reads = [jest.spyOn(store, 'sumOpen'), jest.spyOn(store, 'countLate'), jest.spyOn(store, 'listCalls')];
    const scrape = async () => (await open('/metrics')).text();
    const texts = await Promise.all(Array.from({ length: 10 }, scrape));
    for (const text of [...texts, await scrape()]) expect(text).toMatch(/^keybrake_unknown_calls 1$/m);
    expect(reads.map((read) => read.mock.calls.length)).toEqual([1, 1, 0]);
    await control.spend(key.key_id, 2 * USD, unknown);
    await until('the second call is seen', async () => /^keybrake_unknown_calls 2$/m.test(await scrape()) || undefined);
  });

  it('the OpenAPI document is made once, however often it is asked for', async () => {
    const made = jest.spyOn(OpenApiGeneratorV31.prototype, 'generateDocument');
    const [first, ...more] = [await open('/openapi.json'), await open('/openapi.json'), await open('/openapi.json')];
    const text = await first.text();
    for (const again of more) expect(await again.text()).toBe(text);
    expect([first.status, first.headers.get('content-type')]).toEqual([200, 'application/json']);
    expect(made).toHaveBeenCalledTimes(1);
  });

  it('OpenAPI 3.1 has every call of the contract, and every reference in it leads somewhere', async () => {
    const document = (await (await open('/openapi.json')).json()) as OpenApi;
    expect(document.openapi).toBe('3.1.0');
    const calls = Object.entries(document.paths).flatMap(([path, item]) =>
      Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(calls.toSorted()).toEqual([
      'DELETE /vault/calls',
      'DELETE /vault/keys/{key_id}',
      'GET /healthz',
      'GET /metrics',
      'GET /readyz',
      'GET /vault/calls',
      'GET /vault/drift',
      'GET /vault/jobs/{job_id}',
      'GET /vault/keys',
      'GET /vault/keys/{key_id}',
      'GET /vault/summary',
      'GET /vault/vendors',
      'PATCH /vault/jobs/{job_id}',
      'PATCH /vault/keys/{key_id}',
      'POST /vault/calls/{call_id}/resolve',
      'POST /vault/keys',
      'POST /vault/keys/{key_id}/renew',
      'POST /vault/keys/{key_id}/token',
    ]);
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)];
    expect(references.length).toBeGreaterThan(20);
    for (const [, name] of references) expect(document.components.schemas).toHaveProperty(name!);
    const body = document.components.schemas['IssueKeyBody']!;
    expect(body.required).toEqual(['allowed_endpoints', 'expires_in', 'agent_run_label']);
    expect(body.additionalProperties).toBe(false);
    const patterns = [...JSON.stringify(document).matchAll(/"pattern":("(?:[^"\\]|\\.)*")/g)];
    expect(patterns.length).toBeGreaterThan(5);
    for (const [, text] of patterns) {
      const pattern = JSON.parse(text!) as string;
      expect(pattern).toMatch(/^\^.*\$$/);
      expect(() => new RegExp(pattern, 'u')).not.toThrow();
    }
    expect(document.info.description).toContain('cap_exhausted');
    const takeBodies = Object.values(document.paths).flatMap(({ post, patch }) => [post, patch].filter(Boolean));
    expect(takeBodies).toHaveLength(6);
    for (const call of takeBodies) expect(call).toHaveProperty('responses.413');
  });
});

interface OpenApi {
  readonly openapi: string;
  readonly info: { readonly description: string };
  readonly paths: Readonly<Record<string, { readonly post?: object; readonly patch?: object }>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, { required: string[]; additionalProperties: boolean }>>;
  };
}
