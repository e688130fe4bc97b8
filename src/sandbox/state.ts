import { randomBytes } from 'node:crypto';
import { resourceMissing } from './errors';
import type { FormHash } from './form';
import type { Charge, Customer, Event, Metadata, PaymentIntent, Refund } from './objects';

/** The request that made an object. */
export interface Origin {
  readonly requestId: string;
  readonly idempotencyKey: string | null;
  /** The connected account acted for (`Stripe-Account`). */
  readonly account: string | null;
}

/** An object's place in a table; `object` is replaced when it changes. */
export interface Row<T> {
  object: T;
  readonly origin: Origin;
}

/** All that an endpoint may use. `id` is the one in the path, or empty. */
export interface Call {
  readonly state: StripeState;
  readonly id: string;
  readonly form: FormHash;
  readonly origin: Origin;
  /** An injected decline. */
  readonly decline: boolean;
}

interface Identified {
  readonly id: string;
  readonly object: string;
}

const API_VERSION = '2026-10-28.endive';
const EVENTS_MAX = 100_000;

/** The objects of one kind, oldest first. */
export class Table<T extends Identified> {
  readonly rows: Row<T>[] = [];
  readonly #byId = new Map<string, Row<T>>();
  readonly #kind: string;

  constructor(kind: string) {
    this.#kind = kind;
  }

  add(object: T, origin: Origin): Row<T> {
    const row = { object, origin };
    this.rows.push(row);
    this.#byId.set(object.id, row);
    return row;
  }

  find(id: string): Row<T> | undefined {
    return this.#byId.get(id);
  }

  /** The row, or Stripe's 404 that names the parameter. */
  get(id: string, param = 'id'): Row<T> {
    const row = this.#byId.get(id);
    if (row === undefined) throw resourceMissing(this.#kind, id, param);
    return row;
  }

  /** Forgets the oldest rows when there are twice as many as may be kept. */
  trim(keepMax: number): void {
    if (this.rows.length < 2 * keepMax) return;
    for (const row of this.rows.splice(0, this.rows.length - keepMax)) this.#byId.delete(row.object.id);
  }
}

/** The account's objects and its journal of events. */
export class StripeState {
  readonly paymentIntents = new Table<PaymentIntent>('payment_intent');
  readonly charges = new Table<Charge>('charge');
  readonly refunds = new Table<Refund>('refund');
  readonly customers = new Table<Customer>('customer');
  readonly events = new Table<Event>('event');
  readonly #now: () => number;
  /** Part of every id, so that no id comes twice, not even after a reset or a restart. */
  readonly #run = randomBytes(6).toString('hex');
  #made = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** A new id in the manner of Stripe: `pi_` and 24 letters and digits. */
  newId(prefix: string): string {
    this.#made += 1;
    return `${prefix}_3S${this.#run}${this.#made.toString(36).padStart(10, '0')}`;
  }

  /** The clock in seconds. */
  seconds(): number {
    return Math.floor(this.#now() / 1000);
  }

  /** Writes an event to the journal. */
  emit(type: string, object: unknown, origin: Origin): void {
    const event: Event = {
      id: this.newId('evt'),
      object: 'event',
      api_version: API_VERSION,
      created: this.seconds(),
      data: { object },
      livemode: false,
      pending_webhooks: 0,
      request: { id: origin.requestId, idempotency_key: origin.idempotencyKey },
      type,
    };
    this.events.add(event, origin);
    this.events.trim(EVENTS_MAX);
  }

  /** Any object by its id, for `expand`. */
  lookUp(id: string): unknown {
    const tables: readonly Table<Identified>[] = [this.charges, this.paymentIntents, this.customers, this.refunds];
    for (const table of tables) {
      const row = table.find(id);
      if (row !== undefined) return row.object;
    }
    return undefined;
  }
}

/** Merges metadata as Stripe does: an empty text removes a pair, null removes them all. */
export function mergeMetadata(before: Metadata, change: FormHash | null | undefined): Metadata {
  if (change === undefined) return before;
  if (change === null) return {};
  const merged = Object.assign(Object.create(null) as Record<string, string>, before);
  for (const [name, value] of Object.entries(change)) {
    if (value === '') delete merged[name];
    else merged[name] = typeof value === 'string' ? value : JSON.stringify(value);
  }
  return merged;
}
