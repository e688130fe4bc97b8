import { type Decline, cardDeclined, declineOf } from './declines';
import { invalidParam, wrongState } from './errors';
import type { Charge, Metadata } from './objects';
import { parseParams } from './params';
import { type Call, mergeMetadata } from './state';

/** What a charge is made of. */
export interface ChargeDetails {
  readonly amount: number;
  readonly currency: string;
  readonly customer: string | null;
  readonly description: string | null;
  readonly metadata: Metadata;
  readonly payment_intent: string | null;
  readonly payment_method: string | null;
}

const CREATE = {
  amount: 'amount',
  application_fee: 'any',
  application_fee_amount: 'integer',
  capture: 'boolean',
  currency: 'currency',
  customer: 'string',
  description: 'string',
  destination: 'any',
  metadata: 'hash',
  on_behalf_of: 'string',
  radar_options: 'any',
  receipt_email: 'string',
  shipping: 'any',
  source: 'string',
  statement_descriptor: 'string',
  statement_descriptor_suffix: 'string',
  transfer_data: 'any',
  transfer_group: 'string',
} as const;

const CAPTURE = {
  amount: 'amount',
  application_fee: 'any',
  application_fee_amount: 'integer',
  receipt_email: 'string',
  statement_descriptor: 'string',
  statement_descriptor_suffix: 'string',
  transfer_data: 'any',
  transfer_group: 'string',
} as const;

/** `POST /v1/charges` */
export function createCharge(call: Call): Charge {
  const params = parseParams(call.form, CREATE, ['amount', 'currency']);
  const source = params.source || null;
  const customer = params.customer || null;
  if (source === null && customer === null) {
    throw invalidParam('source', 'Must provide source or customer.', 'parameter_missing');
  }
  const details: ChargeDetails = {
    amount: params.amount,
    currency: params.currency,
    customer,
    description: params.description || null,
    metadata: mergeMetadata({}, params.metadata),
    payment_intent: null,
    payment_method: source,
  };
  const decline = declineOf(call.decline, source, customer);
  const charge = addCharge(call, details, params.capture !== false, decline);
  if (decline !== undefined) throw cardDeclined(decline, charge.id);
  return charge;
}

/** `POST /v1/charges/{id}/capture`: what is not captured is given back. */
export function captureCharge(call: Call): Charge {
  const row = call.state.charges.get(call.id);
  const params = parseParams(call.form, CAPTURE);
  const before = row.object;
  if (before.payment_intent !== null) {
    throw wrongState('charge_invalid_parameter', 'A charge of a PaymentIntent is captured through the PaymentIntent.');
  }
  if (before.captured) throw wrongState('charge_already_captured', `Charge ${before.id} has already been captured.`);
  if (before.status !== 'succeeded' || before.refunded) {
    throw wrongState('charge_not_capturable', `Charge ${before.id} has failed or was given back; it has no money.`);
  }
  const amount = params.amount ?? before.amount;
  if (amount > before.amount) {
    const message = `The amount is greater than what was authorized (${before.amount}).`;
    throw wrongState('amount_too_large', message, { param: 'amount' });
  }
  row.object = { ...before, captured: true, amount_captured: amount };
  call.state.emit('charge.captured', row.object, call.origin);
  return row.object;
}

/** Adds the charge of one attempt: captured or authorised, or failed when it was declined. */
export function addCharge(call: Call, details: ChargeDetails, capture: boolean, decline: Decline | undefined): Charge {
  const paid = decline === undefined;
  const captured = capture && paid;
  const charge: Charge = {
    id: call.state.newId('ch'),
    object: 'charge',
    amount: details.amount,
    amount_captured: captured ? details.amount : 0,
    amount_refunded: 0,
    balance_transaction: null,
    captured,
    created: call.state.seconds(),
    currency: details.currency,
    customer: details.customer,
    description: details.description,
    disputed: false,
    failure_code: decline?.code ?? null,
    failure_message: decline?.message ?? null,
    livemode: false,
    metadata: details.metadata,
    outcome: paid ? APPROVED : { network_status: 'declined_by_network', reason: decline.decline_code },
    paid,
    payment_intent: details.payment_intent,
    payment_method: details.payment_method,
    receipt_email: null,
    refunded: false,
    status: paid ? 'succeeded' : 'failed',
  };
  call.state.charges.add(charge, call.origin);
  call.state.emit(paid ? 'charge.succeeded' : 'charge.failed', charge, call.origin);
  return charge;
}

const APPROVED = Object.freeze({ network_status: 'approved_by_network', reason: null, type: 'authorized' });
