/**
 * The control plane as one `fetch`. `/healthz`, `/readyz`, `/metrics` and `/openapi.json` need no key: they hold no
 * secret, no key id and no label, and probes have none. All below `/vault` needs one, but for the callbacks of vendors,
 * which sign.
 */
import { OpenAPIHono, type z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { accepts } from 'hono/accepts';
import { HTTPException } from 'hono/http-exception';
import { CONTROL_ERRORS, ControlError, type ControlErrorCode, type IssuedKey, type IssueKeyBody } from '../contract';
import type { VendorView } from '../endpoints';
import { newId } from '../ids';
import type { Receiver } from '../late/callbacks';
import type { Live } from '../ledger/resume';
import type { Readable } from '../lookup';
import type { ProxyMetrics } from '../metrics';
import type { ReadyOptions } from '../options';
import type { Rows } from '../stores/store';
import { StoreError } from '../stores/store';
import type { KeyRow } from '../stores/tables';
import { createVendors, type Vendors } from '../vendors';
import { listCalls, resolveCall, type StreamFormat, streamCalls } from './calls';
import { streamDrift } from './drift';
import { adminOnly, authenticated, type Env, limitedBody, noFields, unambiguousBody } from './gates';
import { issueKey, keyAbove } from './issue';
import { invalidRequest, issuesOf, rightFields } from './issues';
import { checkWorkerJob, jobBudget, patchJob } from './jobs';
import { type Caller, followedJob, keyFor, patchKey, renewKey, revokeKey, tokenOf } from './keys';
import { listKeys, type Reader, summary } from './listings';
import { prune } from './retention';
import * as routes from './routes';
import { checkedMicros, durationMs } from './schemas';
import { type Config, fingerprintOf, termsIssues, understand } from './terms';
import { jobView, keyView } from './views';

const METHODS = ['GET', 'POST', 'PATCH', 'DELETE'] as const;
const FORMATS = ['application/json', 'application/x-ndjson', 'text/csv'] as const;

export interface ControlDeps {
  readonly ledger: Reader & {
    /** Like `submit`; refused while nothing new may be held. */
    hold: Reader['submit'];
    /** Wakes calls that wait for budget: a cap rose, or a key died. */
    wake(): void;
  };
  readonly options: ReadyOptions;
  /** By default those of `options`. */
  readonly vendors?: Vendors;
  /** The process that is running now: its unknown calls may still be under way. */
  readonly live: Live;
  /** Stops what is queued with the key, or one below it, in every process; answers how many calls are in flight. */
  readonly killed: (keyId: string) => number | Promise<number>;
  /** Where the proxy is reached, e.g. `http://127.0.0.1:8787`. */
  readonly baseUrl: () => string;
  readonly vaultKeyFor: (keyId: string) => string;
  /** Is the proxy stopping? Then it is not ready. */
  readonly draining: () => boolean;
  readonly metrics: ProxyMetrics;
  /** The accounts by name, for reading what their vendors executed. */
  readonly accounts: ReadonlyMap<string, Readable>;
  /** Takes what vendors post. */
  readonly receive: Receiver;
}

export interface ControlApp {
  readonly fetch: (request: Request) => Response | Promise<Response>;
}

type App = OpenAPIHono<Env>;

/** Makes the control plane. It answers every path: unknown ones with 404. */
export function createControlApp(deps: ControlDeps): ControlApp {
  const app: App = new OpenAPIHono<Env>({
    defaultHook: (result) => {
      if (!result.success) throw invalidRequest(issuesOf(result.error));
    },
  });
  app.onError((error, c) => failed(deps, error, c));
  app.notFound((c) => {
    const methods = METHODS.filter((method) => takes(app, method, c.req.path));
    if (methods.length === 0) return errorAnswer(c, new ControlError('not_found', 'There is no such path.'));
    c.header('allow', methods.join(', '));
    const text = `This path takes ${methods.join(' or ')}, not ${c.req.method}.`;
    return errorAnswer(c, new ControlError('method_not_allowed', text));
  });
  addCallbacks(app, deps);
  app.use('/vault/*', authenticated(deps.options), limitedBody, unambiguousBody);
  app.get('/vault/keys', adminOnly);
  app.delete('/vault/calls', adminOnly);
  app.post('/vault/calls/:call_id/resolve', adminOnly);
  app.get('/vault/drift', adminOnly);
  app.post('/vault/keys/:key_id/renew', noFields);
  app.post('/vault/keys/:key_id/token', noFields);
  addKeys(app, deps);
  addJobs(app, deps);
  addCalls(app, deps);
  addDrift(app, deps);
  addProbes(app, deps);
  return app;
}

/** What stands for all methods are the gates before a call. */
function takes(app: App, method: string, path: string): boolean {
  return app.router.match(method, path)[0].some(([[, route]]) => route.method === method);
}

function addKeys(app: App, deps: ControlDeps): void {
  const { ledger, options } = deps;
  const config = { ...options, vendors: deps.vendors ?? createVendors(options) };
  const issued = (rows: Rows, now: number, key: KeyRow) => ({ ...keyView(rows, now, key), ...secretOf(deps, key) });

  app.openapi(routes.vendorsRoute, (c) => c.json({ items: vendorViews(config.vendors, options) }, 200));
  app.openapi(
    routes.issueRoute,
    async (c) => {
      const body = c.req.valid('json');
      const input = {
        caller: callerOf(c, options),
        keyId: newId('key'),
        terms: understand(await withVendor(body, ledger), config),
        fingerprint: fingerprintOf(body),
        idempotencyKey: c.req.valid('header')['idempotency-key'],
      };
      return c.json(await ledger.hold((rows, now) => issued(rows, now, issueKey(rows, now, input))), 201);
    },
    (result, c) => (result.success ? undefined : refuseIssue(result, c, config)),
  );
  app.openapi(routes.listKeysRoute, async (c) => {
    return c.json(await listKeys(ledger, c.req.valid('query')), 200);
  });
  app.openapi(routes.getKeyRoute, async (c) => {
    const { key_id: id } = c.req.valid('param');
    const caller = callerOf(c, options);
    return c.json(await ledger.submit((rows, now) => keyView(rows, now, keyFor(rows, caller, id))), 200);
  });
  app.openapi(routes.patchKeyRoute, async (c) => {
    const { key_id: id } = c.req.valid('param');
    const { usd_cap: cap, expires_in: expiresIn } = c.req.valid('json');
    const caller = callerOf(c, options);
    if (caller.role === 'worker' && cap !== undefined) {
      const jobId = await ledger.submit((rows) => followedJob(rows, keyFor(rows, caller, id)));
      if (jobId !== undefined) await checkWorkerJob(ledger.store, jobId, 'change');
    }
    const patch = {
      capMicros: cap === undefined ? undefined : checkedMicros(cap),
      expiresMs: expiresIn === undefined ? undefined : durationMs(expiresIn),
    };
    const view = await ledger.submit((rows, now) => keyView(rows, now, patchKey(rows, now, caller, id, patch)));
    ledger.wake();
    return c.json(view, 200);
  });
  app.openapi(routes.renewRoute, async (c) => {
    const { key_id: id } = c.req.valid('param');
    const caller = callerOf(c, options);
    return c.json(await ledger.submit((rows, now) => keyView(rows, now, renewKey(rows, now, caller, id))), 200);
  });
  app.openapi(routes.tokenRoute, async (c) => {
    const { key_id: id } = c.req.valid('param');
    const caller = callerOf(c, options);
    return c.json(await ledger.submit((rows, now) => issued(rows, now, tokenOf(rows, now, caller, id))), 201);
  });
  app.openapi(routes.revokeRoute, async (c) => {
    const { key_id: id } = c.req.valid('param');
    const { reason = null } = c.req.valid('query');
    const caller = callerOf(c, options);
    const revoked = await ledger.submit((rows, now) => revokeKey(rows, now, caller, id, reason));
    return c.json({ ...revoked, in_flight: await deps.killed(id) }, 200);
  });
}

/** A child has the vendor of the key above, which never changes. */
async function withVendor(body: IssueKeyBody, ledger: Pick<Reader, 'submit'>): Promise<IssueKeyBody> {
  const { vendor, parent_key_id: parentId } = body;
  if (vendor !== undefined || parentId === undefined) return body;
  return { ...body, vendor: (await ledger.submit((rows) => keyAbove(rows, parentId))).vendor };
}

/** A wrong shape must not hide what else is wrong: the other fields are checked against the configuration too. */
async function refuseIssue(
  { target, error }: { readonly target: string; readonly error: z.ZodError },
  c: Context<Env>,
  config: Config,
): Promise<never> {
  const shape = issuesOf(error);
  const named = new Set(shape.map(({ path }) => path));
  const right = target === 'json' ? termsIssues(rightFields(await c.req.json(), error), config) : [];
  throw invalidRequest([...shape, ...right.filter(({ path }) => !named.has(path))]);
}

function addJobs(app: App, { ledger, options }: ControlDeps): void {
  app.openapi(routes.getJobRoute, async (c) => {
    const { job_id: id } = c.req.valid('param');
    const view = await ledger.submit((rows) => jobView(id, jobBudget(rows, id)));
    if (c.var.role === 'worker') await checkWorkerJob(ledger.store, id, 'see');
    return c.json(view, 200);
  });
  app.openapi(routes.patchJobRoute, async (c) => {
    const { job_id: id } = c.req.valid('param');
    const capMicros = checkedMicros(c.req.valid('json').usd_cap);
    const caller = callerOf(c, options);
    if (caller.role === 'worker') await checkWorkerJob(ledger.store, id, 'change');
    const view = await ledger.submit((rows) => jobView(id, patchJob(rows, caller, id, capMicros)));
    ledger.wake();
    return c.json(view, 200);
  });
}

function addCalls(app: App, { ledger, live }: ControlDeps): void {
  app.openapi(routes.listCallsRoute, async (c) => {
    const query = c.req.valid('query');
    const format = accepts(c, { header: 'Accept', supports: [...FORMATS], default: 'application/json' });
    if (format === 'application/json') return c.json(await listCalls(ledger.store, c.var.role, query), 200);
    const stream = streamCalls(ledger.store, c.var.role, query, format as StreamFormat);
    return new Response(stream, { headers: { 'content-type': `${format}; charset=utf-8` } });
  });
  app.openapi(routes.pruneRoute, async (c) => {
    const { older_than: age, dry_run: dryRun, cursor } = c.req.valid('query');
    const input = { role: c.var.role, olderThanMs: durationMs(age), dryRun: dryRun === 'true', cursor };
    return c.json(await prune(ledger, input), 200);
  });
  app.openapi(routes.resolveRoute, async (c) => {
    const { call_id: id } = c.req.valid('param');
    const word = c.req.valid('json');
    const view = await ledger.submit((rows, now) => resolveCall(rows, now, live, id, word));
    ledger.wake();
    return c.json(view, 200);
  });
  app.openapi(routes.summaryRoute, async (c) => {
    return c.json(await summary(ledger, c.var.role, c.req.valid('query').label), 200);
  });
}

function addDrift(
  app: App,
  { ledger, options, vendors = createVendors(options), accounts, draining }: ControlDeps,
): void {
  app.openapi(routes.driftRoute, (c) => {
    const stream = streamDrift({ ledger, accounts, vendors }, c.req.valid('query'), draining);
    // The types have no stream for a media type that is not JSON.
    return c.body(stream, 200, { 'content-type': 'application/x-ndjson; charset=utf-8' }) as never;
  });
}

function addProbes(app: App, { ledger, draining, metrics }: ControlDeps): void {
  app.openapi(routes.healthRoute, (c) => c.json({ status: 'ok' as const }, 200));
  app.openapi(routes.readyRoute, async (c) => {
    if (draining()) throw new ControlError('store_unavailable', 'The proxy is stopping.');
    await ledger.store.ping();
    return c.json({ status: 'ok' as const }, 200);
  });
  app.openapi(routes.metricsRoute, async (c) => {
    return c.text(await metrics.registry.metrics(), 200, { 'content-type': metrics.registry.contentType });
  });
  app.openAPIRegistry.registerComponent('securitySchemes', 'bearer', {
    type: 'http',
    scheme: 'bearer',
    description: 'KEYBRAKE_API_KEY (admin) or KEYBRAKE_WORKER_KEY (worker).',
  });
  // Who asks for it needs no key, and all calls wait while it is made: it is made once.
  let document: string | undefined;
  app.get('/openapi.json', (c) => {
    document ??= JSON.stringify(app.getOpenAPI31Document(routes.DOCUMENT));
    return c.body(document, 200, { 'content-type': 'application/json' });
  });
}

/** Before the keys are asked for: a vendor has none, it signs. */
function addCallbacks(app: App, { receive }: ControlDeps): void {
  app.post('/vault/callbacks/:vendor', limitedBody, async (c) => {
    const callback = {
      vendor: c.req.param('vendor'),
      body: await c.req.text(),
      header: (name: string) => c.req.header(name),
    };
    return c.body(null, await receive(callback));
  });
}

function secretOf(deps: ControlDeps, key: KeyRow): Pick<IssuedKey, 'vault_key' | 'base_url' | 'account_id'> {
  return {
    vault_key: deps.vaultKeyFor(key.key_id),
    base_url: `${deps.baseUrl()}/${key.vendor}`,
    account_id: deps.options.accounts[key.account]?.accountId ?? null,
  };
}

function vendorViews(vendors: Vendors, { accounts }: ReadyOptions): readonly VendorView[] {
  return [...vendors.values()].map(({ id, routes: rows }) => ({
    vendor: id,
    accounts: Object.keys(accounts).filter((name) => accounts[name]?.vendor === id),
    routes: rows.map(({ name, body }) => ({ endpoint: name, body })),
  }));
}

function callerOf(c: Context<Env>, { workerMaxMicros }: ReadyOptions): Caller {
  return { role: c.var.role, workerMaxMicros };
}

function failed({ options }: ControlDeps, error: unknown, c: Context): Response {
  if (error instanceof ControlError) return errorAnswer(c, error);
  if (error instanceof HTTPException && error.status < 500) {
    return errorAnswer(
      c,
      new ControlError('invalid_request', 'The body must be JSON, with Content-Type: application/json.'),
    );
  }
  options.logger.error({ err: error, method: c.req.method, path: c.req.path }, 'a control-plane call failed');
  if (error instanceof StoreError) {
    return errorAnswer(c, new ControlError('store_unavailable', 'The ledger cannot be read or written now.'));
  }
  return errorAnswer(c, new ControlError('internal', 'A fault of the proxy; its log says more.'));
}

const ERROR_HEADERS: Partial<Record<ControlErrorCode, Record<string, string>>> = {
  unauthenticated: { 'www-authenticate': 'Bearer realm="keybrake"' },
  // The rest of the body is not read, so the connection takes no further call.
  payload_too_large: { connection: 'close' },
};

function errorAnswer(c: Context, { code, message, issues }: ControlError): Response {
  return c.json({ error: { code, message, issues } }, CONTROL_ERRORS[code], ERROR_HEADERS[code] ?? {});
}
