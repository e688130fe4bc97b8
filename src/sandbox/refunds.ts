import { badRequest, resourceMissing, wrongState } from './errors';
import type { Charge, Refund } from './objects';
import { parseParams } from './params';
import { type Call, type Row, mergeMetadata } from './state';

const CREATE = {
  amount: 'amount',
  charge: 'string',
  currency: 'currency',
  customer: 'string',
  instructions_email: 'string',
  metadata: 'hash',
  origin: 'string',
  payment_intent: 'string',
  reason: 'string',
  refund_application_fee: 'boolean',
  reverse_transfer: 'boolean',
} as const;

/** `POST /v1/refunds`, and `POST /v1/charges/{id}/refunds` where the path names the charge. */
export function createRefund(call: Call): Refund {
  const params = parseParams(call.form, CREATE);
  const row = chargeOf(call, call.id || params.charge, params.payment_intent);
  const before = row.object;
  const left = refundable(before);
  if (left <= 0) throw wrongState('charge_already_refunded', `Charge ${before.id} has already been refunded.`);
  const amount = params.amount ?? left;
  if (amount > left) {
    const message = `Refund amount (${amount}) is greater than unrefunded amount on charge (${left}).`;
    throw wrongState('amount_too_large', message, { param: 'amount' });
  }
  const refund: Refund = {
    id: call.state.newId('re'),
    object: 'refund',
    amount,
    balance_transaction: null,
    charge: before.id,
    created: call.state.seconds(),
    currency: before.currency,
    metadata: mergeMetadata({}, params.metadata),
    payment_intent: before.payment_intent,
    reason: params.reason || null,
    receipt_number: null,
    status: 'succeeded',
  };
  call.state.refunds.add(refund, call.origin);
  row.object = { ...before, amount_refunded: before.amount_refunded + amount, refunded: amount === left };
  call.state.emit('refund.created', refund, call.origin);
  call.state.emit('charge.refunded', row.object, call.origin);
  return refund;
}

/** `POST /v1/charges/{id}/refund`, the older path: answers with the charge. */
export function refundCharge(call: Call): Charge {
  createRefund(call);
  return call.state.charges.get(call.id).object;
}

/** What can still be refunded: never more than was received. An uncaptured charge of its own can be given back. */
function refundable(charge: Charge): number {
  if (charge.captured) return charge.amount_captured - charge.amount_refunded;
  return charge.payment_intent === null ? charge.amount - charge.amount_refunded : 0;
}

function chargeOf(call: Call, chargeId: string | undefined, intentId: string | undefined): Row<Charge> {
  if (chargeId) return paid(call.state.charges.get(chargeId, call.id ? 'id' : 'charge'));
  if (!intentId) throw badRequest('One of the following params should be provided: payment_intent or charge.');
  const intent = call.state.paymentIntents.find(intentId)?.object;
  if (intent === undefined) throw resourceMissing('payment_intent', intentId, 'payment_intent');
  const row = intent.amount_received > 0 ? call.state.charges.find(intent.latest_charge ?? '') : undefined;
  if (row !== undefined) return paid(row);
  const message = `This PaymentIntent (${intentId}) does not have a successful charge to refund.`;
  throw wrongState('payment_intent_unexpected_state', message, { payment_intent: intent });
}

function paid(row: Row<Charge>): Row<Charge> {
  if (row.object.status === 'succeeded') return row;
  throw wrongState('charge_not_refundable', `Charge ${row.object.id} has failed; there is nothing to refund.`);
}
