/** The real proxy, a Twilio that tells its prices later, and a wire between its status callbacks and the proxy. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
// oxlint-disable-next-line import/no-named-as-default
import twilio from 'twilio';
import type { IssuedKey, IssueKeyBody } from '../../proxy/contract';
import type { LateOptions } from '../../proxy/late/poller';
import { loadDriver } from '../../proxy/stores/sqlite/driver';
import { startSandbox } from '../../src/sandbox';
import type { TestProxy, TestProxyOptions } from '../../src/testing';
import { ACCOUNT, API_KEY, TOKEN } from '../sandbox-twilio-fixture';
import { cluster } from './postgres';
import { startTestProxy } from './proxy';
import { chosenStoreOptions, MASTER_KEY } from './store';

export const SEND = 'POST /2010-04-01/Accounts/:AccountSid/Messages.json';
export const UPDATE = 'POST /2010-04-01/Accounts/:AccountSid/Messages/:Sid.json';
export const FETCH = 'GET /2010-04-01/Accounts/:AccountSid/Messages/:Sid.json';
export const DIAL = 'POST /2010-04-01/Accounts/:AccountSid/Calls.json';

/** Looks follow each other at once. */
export const EAGER: Partial<LateOptions> = { firstMs: 5, longestMs: 20, everyMs: 5, perSecond: 10_000 };

/** A status callback on its way. */
export interface Posted {
  readonly path: string;
  readonly signature: string;
  readonly body: string;
}

export type LateRig = Awaited<ReturnType<typeof startLateRig>>;

interface LateRigOptions extends Partial<Omit<TestProxyOptions, 'apiKey'>> {
  /** The credential is an API key, with which nobody can tell who signed. */
  readonly apiKey?: boolean;
  /** Is Twilio told to post to the proxy? */
  readonly callbacks?: boolean;
}

export async function startLateRig({ apiKey = false, callbacks = false, ...given }: LateRigOptions = {}) {
  const sandbox = await startSandbox({ twilio: { accountSid: ACCOUNT, authToken: TOKEN, apiKey: API_KEY } });
  const folder = mkdtempSync(join(tmpdir(), 'keybrake-late-'));
  const file = join(folder, 'ledger.db');
  const chosen = await chosenStoreOptions();
  const logged: string[] = [];
  const posted: (Posted & { readonly answered: number })[] = [];
  const wire = await startWire((post) => forward(post).then((answered) => void posted.push({ ...post, answered })));
  const credential = apiKey ? { secret: API_KEY.secret, user: API_KEY.sid } : { secret: TOKEN };
  const start = (options: Partial<TestProxyOptions> = {}): Promise<TestProxy> =>
    startTestProxy({
      upstream: sandbox.url,
      store: `sqlite:${file}`,
      masterKeys: [MASTER_KEY],
      ...chosen,
      accounts: { twilio: { vendor: 'twilio', accountId: ACCOUNT, upstream: sandbox.url, ...credential } },
      prices: { twilio: { call_minute: { US: 20_000 } } },
      logger: pino({ level: 'info' }, { write: (line: string) => void logged.push(line) }),
      ...(callbacks && { callbackUrl: wire.url }),
      late: EAGER,
      ...given,
      ...options,
    });
  let proxy = await start();

  /** Posts a status callback to the proxy, with whatever signature. */
  async function forward({ path, signature, body }: Posted): Promise<number> {
    const headers = { 'content-type': 'application/x-www-form-urlencoded', 'x-twilio-signature': signature };
    return (await fetch(proxy.url + path, { method: 'POST', headers, body })).status;
  }

  return {
    sandbox,
    wire,
    posted,
    logged,
    forward,
    get proxy() {
      return proxy;
    },
    issue: (usd_cap: number, body: Partial<IssueKeyBody> = {}): Promise<IssuedKey> =>
      proxy.client.issueKey({
        vendor: 'twilio',
        usd_cap,
        allowed_endpoints: [SEND, UPDATE, FETCH, DIAL],
        expires_in: '1h',
        agent_run_label: 'late',
        ...body,
      }),
    /** The official SDK with a vault key. */
    sdk(key: IssuedKey): twilio.Twilio {
      const client = twilio(ACCOUNT, key.vault_key);
      client.api.baseUrl = `${proxy.url}/twilio`;
      return client;
    },
    spend: async ({ key_id: id }: IssuedKey) => (await proxy.client.getKey(id)).spend,
    metric: async (name: string) => {
      const text = await (await fetch(`${proxy.url}/metrics`)).text();
      return Number(
        text
          .split('\n')
          .find((line) => line.startsWith(`${name} `))
          ?.split(' ')[1],
      );
    },
    /** The looks for a price that the vendor has seen. */
    looks: (sid = '') => sandbox.requests().filter(({ method, path }) => method === 'GET' && path.includes(sid)),
    async restart(between: () => Promise<unknown>, options: Partial<TestProxyOptions> = {}) {
      await proxy.close();
      await between();
      proxy = await start(options);
    },
    /** What the ledger says, read while no proxy has it open. */
    async events(kind: string) {
      await proxy.close();
      const rows = await eventRows(chosen.store ?? file, kind);
      proxy = await start();
      return rows.map(({ data, ...row }) => ({
        ...row,
        data: JSON.parse(data) as unknown,
      }));
    },
    async close() {
      await proxy.close();
      await sandbox.stop();
      await wire.close();
      rmSync(folder, { recursive: true });
    },
  };
}

interface EventRow {
  readonly actor: string;
  readonly call_id: string;
  readonly data: string;
}

async function eventRows(store: string, kind: string): Promise<readonly EventRow[]> {
  const sql = (table: string) => `SELECT actor, call_id, data FROM ${table} WHERE kind = '${kind}' ORDER BY seq`;
  if (store.startsWith('postgres:')) {
    const { rows } = await (await cluster()).query(sql('keybrake.events'), new URL(store).pathname.slice(1));
    return rows as EventRow[];
  }
  const db = new (loadDriver())(store);
  const rows = db.prepare(sql('events')).all();
  db.close();
  return rows as EventRow[];
}

/** An address that is known before the proxy's own; what comes there goes to `onPost` whole. */
async function startWire(onPost: (post: Posted) => Promise<void>) {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const signature = String(request.headers['x-twilio-signature']);
      const post = { path: request.url ?? '', signature, body: Buffer.concat(chunks).toString() };
      void onPost(post).finally(() => response.end());
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
