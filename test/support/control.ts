/** The control plane over real HTTP on a real ledger, with a way to reach into its rows. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import pino from 'pino';
import { KeybrakeApiError, KeybrakeClient } from '../../proxy/client';
import type { IssueKeyBody } from '../../proxy/contract';
import { createControlApp } from '../../proxy/control/app';
import { newId } from '../../proxy/ids';
import { factsOf, type KeyFacts } from '../../proxy/ledger/facts';
import { finish, type Outcome } from '../../proxy/ledger/finish';
import { Ledger } from '../../proxy/ledger/ledger';
import { reserve } from '../../proxy/ledger/reserve';
import { createMetrics } from '../../proxy/metrics';
import type { ProxyOptions } from '../../proxy/options';
import { Seal } from '../../proxy/seal';
import type { Rows } from '../../proxy/stores/store';
import type { BudgetRow, CallRow, KeyRow, NewEvent } from '../../proxy/stores/tables';
import { reserveInput } from './ledger';
import { chosenStore } from './store';

export const ADMIN = 'an-admin-key-for-tests';
export const WORKER = 'worker-key-for-tests';
const MASTER = 'a master key of more than 32 characters';
const EPOCH = 'epoch_now';

/** The shortest right body; tests say what differs. */
export const BODY: IssueKeyBody = {
  vendor: 'stripe',
  usd_cap: 100,
  allowed_endpoints: ['POST /v1/payment_intents'],
  expires_in: '4h',
  agent_run_label: 'billing/2026-11-24',
};

interface Ask extends RequestInit {
  readonly key?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export type Control = Awaited<ReturnType<typeof startControl>>;

export async function startControl(given: Partial<ProxyOptions> = {}) {
  const { store, remove } = chosenStore().open();
  const ledger = new Ledger(store);
  const seal = new Seal([MASTER]);
  const killed: string[] = [];
  const state = { draining: false, wakes: 0 };
  const wake = ledger.wake.bind(ledger);
  ledger.wake = () => {
    state.wakes += 1;
    wake();
  };
  const events: NewEvent[] = [];
  const app = createControlApp({
    ledger: {
      store,
      wake: () => ledger.wake(),
      submit: (operation) => ledger.submit(recorded(operation, events)),
      hold: (operation) => ledger.hold(recorded(operation, events)),
    },
    options: {
      store: 'sqlite:unused',
      apiKey: ADMIN,
      workerKey: WORKER,
      accounts: {
        stripe: { vendor: 'stripe', secret: 'sk_test_main' },
        eu: { vendor: 'stripe', secret: 'sk_test_eu' },
      },
      logger: pino({ level: 'silent' }),
      ...given,
    },
    live: { epoch: EPOCH, upstreamTimeoutMs: 25_000, marginMs: 5_000, exclusive: true },
    killed: (keyId) => killed.push(keyId) + 6,
    baseUrl: () => 'http://127.0.0.1:8787',
    vaultKeyFor: (keyId) => seal.vaultKeyFor(keyId),
    draining: () => state.draining,
    metrics: createMetrics(store),
    accounts: new Map(),
    receive: async () => 404,
  });
  const listener = getRequestListener(app.fetch);
  const server = createServer((request, response) => void listener(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const admin = new KeybrakeClient({ url, apiKey: ADMIN });
  const worker = new KeybrakeClient({ url, apiKey: WORKER });

  const ask = async (path: string, init: Ask = {}) =>
    fetch(url + path, {
      ...init,
      headers: { authorization: `Bearer ${init.key ?? ADMIN}`, 'content-type': 'application/json', ...init.headers },
    });
  const factsFor = (keyId: string): Promise<KeyFacts> => ledger.submit((rows) => factsOf(rows.get('keys', keyId)!));

  return {
    app,
    ledger,
    url,
    admin,
    worker,
    killed,
    state,
    /** What control-plane calls wrote to the event log. */
    events,
    ask,
    post: (path: string, body: unknown, key = ADMIN) => ask(path, { method: 'POST', body: JSON.stringify(body), key }),
    vaultKeyFor: (keyId: string) => seal.vaultKeyFor(keyId),
    changeKey: (keyId: string, change: Partial<KeyRow>) =>
      ledger.submit((rows) => rows.put('keys', { ...rows.get('keys', keyId)!, ...change })),
    changeBudget: (id: string, change: Partial<BudgetRow>) =>
      ledger.submit((rows, now) => rows.put('budgets', { ...(rows.get('budgets', id) ?? fail(id, now)), ...change })),
    budget: (id: string) => ledger.submit((rows) => rows.get('budgets', id)),
    call: (id: string) => ledger.submit((rows) => rows.get('calls', id)),
    /** Holds a call of the key and, with an outcome, ends it. Answers its id. */
    async spend(keyId: string, micros: number, outcome?: Outcome, facts: Partial<CallRow> = {}) {
      const input = reserveInput(await factsFor(keyId), { price: { kind: 'fixed', micros, out: false } });
      return ledger.submit((rows, now) => {
        const reserved = reserve(rows, now, input);
        if (reserved.kind !== 'held') throw new Error(`the call is ${reserved.kind}`);
        rows.put('calls', { ...rows.get('calls', input.call.callId)!, ...facts });
        if (outcome !== undefined) finish(rows, now, input.call.callId, outcome);
        return input.call.callId;
      });
    },
    /** Audit rows as they are, written directly. */
    putCalls: (keyId: string, calls: readonly Partial<CallRow>[]) => {
      // Made here: a store may run the operation again, and it must then do the same.
      const made = calls.map((call) => ({ ...callRow(keyId), ...call }));
      return ledger.submit((rows) => {
        for (const row of made) rows.put('calls', row);
      });
    },
    async close() {
      await Promise.all([admin.close(), worker.close()]);
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await ledger.idle();
      await store.close();
      remove();
    },
  };
}

function recorded<T>(operation: (rows: Rows, now: number) => T, events: NewEvent[]) {
  return (rows: Rows, now: number): T =>
    operation(
      {
        get: (table, id) => rows.get(table, id),
        put: (table, row) => rows.put(table, row),
        add: (table, row) => rows.add(table, row),
        remove: (table, id) => rows.remove(table, id),
        forgetEvents: (seqs) => rows.forgetEvents(seqs),
        attempt: (work, at) => rows.attempt(work, at),
        event: (event) => {
          events.push(event);
          rows.event(event);
        },
      },
      now,
    );
}

function fail(id: string, now: number): never {
  throw new Error(`there is no budget ${id} at ${now}`);
}

function callRow(keyId: string): CallRow {
  return {
    call_id: newId('call'),
    key_id: keyId,
    job_id: null,
    account: 'stripe',
    method: 'POST',
    path: '/v1/payment_intents',
    route: 'POST /v1/payment_intents',
    record_id: null,
    idempotency_key: null,
    scope: null,
    fingerprint: null,
    budgets: '[]',
    day: '2026-11-24',
    quote_micros: 1_500_000,
    up_to_micros: null,
    replay_of: null,
    workflow_id: null,
    activity_id: null,
    attempt: null,
    context: null,
    created_at: 1_700_000_000_000,
    state: 'settled',
    object_id: null,
    vendor_id: null,
    http_status: 200,
    code: null,
    cost_micros: 1_500_000,
    sends: 1,
    epoch: EPOCH,
    send_by: 0,
    ended_at: 1_700_000_000_100,
    answer: null,
    request: null,
    stuck_at: null,
  };
}

/** The error that a client's promise rejects with; fails the test when it resolves. */
export async function apiError(promise: Promise<unknown>): Promise<KeybrakeApiError> {
  const error = await promise.then(
    () => new Error('the request was not refused'),
    (reason: unknown) => reason,
  );
  if (!(error instanceof KeybrakeApiError)) throw error;
  return error;
}
