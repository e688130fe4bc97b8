/**
 * What the vendor says it has executed: the oracle of the tests. Everything about money is added up from the objects
 * themselves when asked; there are no running totals that could go wrong in step with the thing they check.
 */
import type { RequestCounts } from './counts';
import { type Duplicate, duplicatesBy } from './duplicates';
import type { Charge, Metadata, PaymentIntent } from './objects';
import type { Row, StripeState } from './state';

/** A PaymentIntent, or a charge without one, and what it cost. */
export interface SandboxCharge {
  readonly id: string;
  readonly object: 'payment_intent' | 'charge';
  readonly amount: number;
  readonly currency: string;
  readonly status: string;
  /** True once money was authorised or captured, also when it was given back later. */
  readonly executed: boolean;
  /** What it charges as of now: captured, and authorised for capture. */
  readonly chargedMinor: number;
  /** What it could still charge: the amount of an intent that was neither confirmed nor declined. */
  readonly openMinor: number;
  readonly refundedMinor: number;
  readonly customer: string | null;
  readonly metadata: Metadata;
  /** The idempotency key of the request that created it. */
  readonly idempotencyKey: string | null;
  /** The idempotency key of the request that took the money (create with confirm, or confirm); null if none did. */
  readonly executedByKey: string | null;
  readonly account: string | null;
  readonly requestId: string;
  readonly created: number;
}

/** Amounts by currency, in its minor unit. */
export type MinorByCurrency = Readonly<Record<string, number>>;

/** What the Stripe stand-in has done. */
export interface StripeStats extends Readonly<RequestCounts> {
  readonly paymentIntents: number;
  /** Charges that succeeded (captured or authorised), voided and refunded ones included. */
  readonly executedCharges: number;
  readonly declined: number;
  readonly refunds: number;
  /** Captured and authorised money: 2.2 V of every executed object. */
  readonly chargedMinor: MinorByCurrency;
  readonly chargedUsd: number;
  /** Intents that wait for a confirmation. */
  readonly openMinor: MinorByCurrency;
  readonly openUsd: number;
  readonly refundedMinor: MinorByCurrency;
  readonly refundedUsd: number;
  readonly duplicates: {
    /** Idempotency keys under which more than one charge was executed: never right within a day and an account. */
    readonly keys: readonly Duplicate[];
    /** Customers charged more than once. Whether that is right depends on the data. */
    readonly customers: readonly Duplicate[];
  };
}

/** One row per PaymentIntent and per charge without one, in the order of creation within each kind. */
export function listCharges(state: StripeState): readonly SandboxCharge[] {
  const attempts = new Map<string, Row<Charge>[]>();
  const direct: SandboxCharge[] = [];
  for (const row of state.charges.rows) {
    const intent = row.object.payment_intent;
    if (intent === null) direct.push(fromCharge(row));
    else attempts.set(intent, [...(attempts.get(intent) ?? []), row]);
  }
  const intents = state.paymentIntents.rows.map((row) => fromIntent(row, attempts.get(row.object.id) ?? []));
  return [...intents, ...direct];
}

/** Adds it all up. */
export function summarise(state: StripeState, counts: RequestCounts): StripeStats {
  const charges = listCharges(state);
  const executed = charges.filter((charge) => charge.executed);
  const chargedMinor = sum(charges, (charge) => charge.chargedMinor);
  const openMinor = sum(charges, (charge) => charge.openMinor);
  const refundedMinor = sum(
    state.refunds.rows.map((row) => row.object),
    (refund) => refund.amount,
  );
  return {
    ...counts,
    injected: { ...counts.injected },
    paymentIntents: state.paymentIntents.rows.length,
    executedCharges: state.charges.rows.filter((row) => row.object.status === 'succeeded').length,
    declined: state.charges.rows.filter((row) => row.object.status === 'failed').length,
    refunds: state.refunds.rows.length,
    chargedMinor,
    chargedUsd: (chargedMinor['usd'] ?? 0) / 100,
    openMinor,
    openUsd: (openMinor['usd'] ?? 0) / 100,
    refundedMinor,
    refundedUsd: (refundedMinor['usd'] ?? 0) / 100,
    duplicates: {
      keys: duplicatesBy(executed, (charge) => charge.executedByKey),
      customers: duplicatesBy(executed, (charge) => charge.customer),
    },
  };
}

function fromIntent(row: Row<PaymentIntent>, attempts: readonly Row<Charge>[]): SandboxCharge {
  const intent = row.object;
  const executed = attempts.find((attempt) => attempt.object.status === 'succeeded');
  const waits = intent.status.startsWith('requires_') && executed === undefined;
  return {
    ...common(intent, row),
    object: 'payment_intent',
    status: intent.status,
    executed: executed !== undefined,
    chargedMinor: intent.amount_received + intent.amount_capturable,
    openMinor: waits && intent.last_payment_error === null ? intent.amount : 0,
    refundedMinor: executed?.object.amount_refunded ?? 0,
    executedByKey: executed?.origin.idempotencyKey ?? null,
  };
}

function fromCharge(row: Row<Charge>): SandboxCharge {
  const charge = row.object;
  const executed = charge.status === 'succeeded';
  return {
    ...common(charge, row),
    object: 'charge',
    status: charge.status,
    executed,
    chargedMinor: executed ? (charge.captured ? charge.amount_captured : charge.amount) : 0,
    openMinor: 0,
    refundedMinor: charge.amount_refunded,
    executedByKey: executed ? row.origin.idempotencyKey : null,
  };
}

function common(object: PaymentIntent | Charge, row: Row<unknown>) {
  const { amount, created, currency, customer, id, metadata } = object;
  const { account, idempotencyKey, requestId } = row.origin;
  return { id, amount, currency, customer, metadata, idempotencyKey, account, requestId, created };
}

function sum<T extends { readonly currency: string }>(items: readonly T[], minor: (item: T) => number) {
  const totals: Record<string, number> = {};
  for (const item of items) {
    const amount = minor(item);
    if (amount !== 0) totals[item.currency] = (totals[item.currency] ?? 0) + amount;
  }
  return totals;
}
