/** A ledger on a real store with keys put in by hand, for tests of the ledger alone. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newId } from '../../proxy/ids';
import { newBudget } from '../../proxy/ledger/budgets';
import { factsOf, type KeyFacts } from '../../proxy/ledger/facts';
import { finish, type Finished, type Outcome } from '../../proxy/ledger/finish';
import { Ledger } from '../../proxy/ledger/ledger';
import { type CallFacts, reserve, type Reserved, type ReserveInput } from '../../proxy/ledger/reserve';
import { openPostgres } from '../../proxy/stores/postgres/postgres';
import { openSqlite } from '../../proxy/stores/sqlite';
import type { Store } from '../../proxy/stores/store';
import type { BudgetRow, KeyRow } from '../../proxy/stores/tables';
import { cluster } from './postgres';

interface Opened {
  readonly store: Store;
  readonly remove: () => void;
}

/** Every store that the shared suites run against. */
export const STORES: readonly { readonly name: string; readonly open: () => Opened }[] = [
  {
    name: 'sqlite',
    open: () => {
      const folder = mkdtempSync(join(tmpdir(), 'keybrake-ledger-'));
      return {
        store: openSqlite(join(folder, 'ledger.db')),
        remove: () => rmSync(folder, { recursive: true }),
      };
    },
  },
  { name: 'postgres', open: () => ({ store: opening(openOnPostgres()), remove: () => {} }) },
];

async function openOnPostgres(): Promise<Store> {
  return openPostgres(await (await cluster()).newDatabase());
}

/** A store that is being opened: what it is asked meanwhile, it does once it is open. */
function opening(store: Promise<Store>): Store {
  return {
    exclusive: false,
    commit: async (work) => (await store).commit(work),
    listCalls: async (query) => (await store).listCalls(query),
    listKeys: async (query) => (await store).listKeys(query),
    listLate: async (query) => (await store).listLate(query),
    listOld: async (query) => (await store).listOld(query),
    sumOpen: async () => (await store).sumOpen(),
    countLate: async () => (await store).countLate(),
    acceptsHolds: () => true,
    ping: async () => (await store).ping(),
    close: async () => (await store).close(),
  };
}

export interface KeySpec {
  readonly cap?: number | null;
  readonly daily?: number;
  readonly job?: { readonly id: string; readonly cap: number };
  readonly parent?: KeyFacts;
  readonly onCap?: 'latch' | 'refuse';
  readonly maxCall?: number;
  readonly expiresAt?: number;
}

export async function addKey(ledger: Ledger, spec: KeySpec): Promise<KeyFacts> {
  const keyId = newId('key');
  const own = [`key:${keyId}`, ...(spec.job ? [`job:${spec.job.id}`] : [])];
  const row: KeyRow = {
    key_id: keyId,
    vendor: 'stripe',
    account: 'stripe',
    label: 'test',
    job_id: spec.job?.id ?? null,
    parent_key_id: spec.parent?.keyId ?? null,
    ancestors: JSON.stringify(spec.parent ? [spec.parent.keyId, ...spec.parent.ancestors] : []),
    budgets: JSON.stringify([...new Set([...own, ...(spec.parent?.budgets ?? [])])]),
    daily: JSON.stringify([...(spec.daily === undefined ? [] : [[keyId, spec.daily]]), ...(spec.parent?.daily ?? [])]),
    allowed: '["POST /v1/payment_intents"]',
    max_call_micros: spec.maxCall ?? null,
    fx: '{}',
    require_idempotency: 0,
    on_cap: spec.onCap ?? 'latch',
    lease_ms: null,
    metadata: '{}',
    issued_by: 'admin',
    created_at: Date.now(),
    expires_at: spec.expiresAt ?? Date.now() + 3_600_000,
    lease_until: null,
    revoked_at: null,
    revoke_reason: null,
  };
  await ledger.submit((rows, now) => {
    rows.put('keys', row);
    rows.put('budgets', newBudget(`key:${keyId}`, spec.cap ?? null, now));
    if (spec.job && !rows.get('budgets', `job:${spec.job.id}`)) {
      rows.put('budgets', newBudget(`job:${spec.job.id}`, spec.job.cap, now));
    }
  });
  return factsOf(row);
}

/** What a test says of a call; the rest is filled in. */
export type Asked = Partial<Omit<ReserveInput, 'call'> & CallFacts>;

export function reserveInput(facts: KeyFacts, given: Asked): ReserveInput {
  const call: CallFacts = {
    callId: newId('call'),
    facts,
    epoch: 'epoch-1',
    method: 'POST',
    path: '/v1/payment_intents',
    route: 'POST /v1/payment_intents',
    idempotencyKey: null,
    recordId: null,
    workflowId: null,
    activityId: null,
    attempt: null,
    context: null,
    ...given,
  };
  return {
    call,
    price: { kind: 'fixed', micros: 1, out: false },
    claim: null,
    vendorIdempotent: true,
    toMicros: (minor) => minor * 10_000,
    ...given,
  };
}

export const fixed = (micros: number) => ({ kind: 'fixed', micros, out: false }) as const;
export const claimOf = (scope: string, fingerprint = 'f') => ({ scope, fingerprint });
export const settledAt = (micros: number): Outcome => ({
  state: 'settled',
  httpStatus: 200,
  code: null,
  spend: { micros, out: false, vendorId: 'pi_1' },
  answer: Buffer.from('answer'),
});
export const endedAs = (state: 'released' | 'unknown'): Outcome => ({ state, httpStatus: null, code: null });

/** A ledger under test, and the questions that the tests ask it. */
export interface TestLedger {
  readonly ledger: Ledger;
  ask(facts: KeyFacts, given: Asked): Promise<Reserved & { callId: string }>;
  end(callId: string, outcome: Outcome): Promise<Finished>;
  budget(id: string): Promise<BudgetRow | undefined>;
  close(): Promise<void>;
}

export function testLedger(open: (typeof STORES)[number]['open']): TestLedger {
  const { store, remove } = open();
  const ledger = new Ledger(store);
  return {
    ledger,
    ask(facts, given) {
      const input = reserveInput(facts, given);
      return ledger.hold((rows, now) => ({ ...reserve(rows, now, input), callId: input.call.callId }));
    },
    end: (callId, outcome) => ledger.record((rows, now) => finish(rows, now, callId, outcome)),
    budget: (id) => ledger.submit((rows) => rows.get('budgets', id)),
    async close() {
      await ledger.idle();
      await store.close();
      remove();
    },
  };
}
