/** The life of a PaymentIntent: create, update, confirm, capture, increment, cancel. */
import { addCharge } from './charges';
import { cardDeclined, declineOf } from './declines';
import { invalidParam, wrongState } from './errors';
import type { CaptureMethod, PaymentIntent, PaymentIntentStatus } from './objects';
import { type Params, parseParams } from './params';
import { CAPTURE, CONFIRM, CREATE, INCREMENT, UPDATE, newIntent } from './payment-intent-shape';
import { type Call, type Row, mergeMetadata } from './state';

type IntentRow = Row<PaymentIntent>;

const UNCONFIRMED = ['requires_payment_method', 'requires_confirmation', 'requires_action'] as const;
const CAPTURE_METHODS: readonly string[] = ['automatic', 'automatic_async', 'manual'] satisfies CaptureMethod[];
/** The account's stand-in for a customer's default payment method: demo data has customers but no cards. */
const DEFAULT_METHOD = 'pm_card_visa';
const ACTION = { type: 'redirect_to_url', redirect_to_url: { url: 'https://hooks.stripe.com/3ds', return_url: null } };

/** `POST /v1/payment_intents` */
export function createPaymentIntent(call: Call): PaymentIntent {
  const params = parseParams(call.form, CREATE, ['amount', 'currency']);
  const created = changed(newIntent(call, params.amount, params.currency), params);
  const automatic_payment_methods =
    params.automatic_payment_methods === undefined ? null : { enabled: true, allow_redirects: 'always' };
  const object = { ...created, automatic_payment_methods, on_behalf_of: params.on_behalf_of ?? null };
  const row = call.state.paymentIntents.add(object, call.origin);
  call.state.emit('payment_intent.created', object, call.origin);
  return params.confirm === true ? confirmRow(call, row, params.off_session) : row.object;
}

/** `POST /v1/payment_intents/{id}` */
export function updatePaymentIntent(call: Call): PaymentIntent {
  const row = find(call);
  const params = parseParams(call.form, UPDATE);
  for (const field of ['amount', 'currency', 'payment_method', 'customer', 'capture_method'] as const) {
    if (params[field] !== undefined) requireStatus(row, 'updated', UNCONFIRMED, `'s ${field}`);
  }
  row.object = changed(row.object, params);
  return row.object;
}

/** `POST /v1/payment_intents/{id}/confirm` */
export function confirmPaymentIntent(call: Call): PaymentIntent {
  const row = find(call);
  const params = parseParams(call.form, CONFIRM);
  requireStatus(row, 'confirmed', UNCONFIRMED);
  row.object = { ...changed(row.object, params), amount: params.amount_to_confirm ?? row.object.amount };
  return confirmRow(call, row, params.off_session);
}

/** `POST /v1/payment_intents/{id}/capture` */
export function capturePaymentIntent(call: Call): PaymentIntent {
  const row = find(call);
  const params = parseParams(call.form, CAPTURE);
  requireStatus(row, 'captured', ['requires_capture']);
  const before = row.object;
  const amount = params.amount_to_capture ?? before.amount_capturable;
  if (amount > before.amount_capturable) throw overcapture(before.amount_capturable);
  const final = params.final_capture !== false || amount === before.amount_capturable;
  row.object = {
    ...before,
    amount_received: before.amount_received + amount,
    amount_capturable: final ? 0 : before.amount_capturable - amount,
    metadata: mergeMetadata(before.metadata, params.metadata),
    status: final ? 'succeeded' : 'requires_capture',
  };
  const charge = latestCharge(call, row);
  charge.object = { ...charge.object, captured: true, amount_captured: row.object.amount_received };
  call.state.emit('charge.captured', charge.object, call.origin);
  if (final) call.state.emit('payment_intent.succeeded', row.object, call.origin);
  return row.object;
}

/** `POST /v1/payment_intents/{id}/increment_authorization`: `amount` is the new total. */
export function incrementAuthorization(call: Call): PaymentIntent {
  const row = find(call);
  const { amount, metadata, description } = parseParams(call.form, INCREMENT, ['amount']);
  requireStatus(row, 'incremented', ['requires_capture']);
  const before = row.object;
  if (amount <= before.amount) {
    const message = `The amount must be greater than the currently authorized amount (${before.amount}).`;
    throw wrongState('parameter_invalid_integer', message, { param: 'amount' });
  }
  row.object = {
    ...before,
    amount,
    amount_capturable: amount - before.amount_received,
    description: description ?? before.description,
    metadata: mergeMetadata(before.metadata, metadata),
  };
  const charge = latestCharge(call, row);
  charge.object = { ...charge.object, amount };
  call.state.emit('payment_intent.amount_capturable_updated', row.object, call.origin);
  return row.object;
}

/** `POST /v1/payment_intents/{id}/cancel`: what was captured stays, the rest is given back. */
export function cancelPaymentIntent(call: Call): PaymentIntent {
  const row = find(call);
  const params = parseParams(call.form, { cancellation_reason: 'string' });
  requireStatus(row, 'canceled', [...UNCONFIRMED, 'requires_capture']);
  row.object = {
    ...row.object,
    amount_capturable: 0,
    canceled_at: call.state.seconds(),
    cancellation_reason: params.cancellation_reason ?? null,
    next_action: null,
    status: 'canceled',
  };
  call.state.emit('payment_intent.canceled', row.object, call.origin);
  return row.object;
}

/** One attempt to take the money: it ends captured, authorised, waiting for the customer, or declined. */
function confirmRow(call: Call, row: IntentRow, offSession: unknown): PaymentIntent {
  const before = row.object;
  const method = before.payment_method ?? DEFAULT_METHOD;
  const authenticates = method.includes('authenticationRequired') && before.status !== 'requires_action';
  if (authenticates && offSession !== 'true') {
    row.object = { ...before, next_action: ACTION, status: 'requires_action' };
    call.state.emit('payment_intent.requires_action', row.object, call.origin);
    return row.object;
  }
  const decline = authenticates ? UNAUTHENTICATED : declineOf(call.decline, method, before.customer);
  const captured = before.capture_method !== 'manual';
  const { amount, currency, customer, description, metadata, id } = before;
  const details = { amount, currency, customer, description, metadata, payment_intent: id, payment_method: method };
  const charge = addCharge(call, details, captured, decline);
  const attempted = { ...before, latest_charge: charge.id, next_action: null };
  if (decline !== undefined) {
    const last_payment_error = { ...decline, charge: charge.id, type: 'card_error' } as const;
    row.object = { ...attempted, last_payment_error, payment_method: null, status: 'requires_payment_method' };
    call.state.emit('payment_intent.payment_failed', row.object, call.origin);
    throw cardDeclined(decline, charge.id, row.object);
  }
  row.object = {
    ...attempted,
    amount_capturable: captured ? 0 : amount,
    amount_received: captured ? amount : 0,
    last_payment_error: null,
    payment_method: method,
    status: captured ? 'succeeded' : 'requires_capture',
  };
  const type = captured ? 'payment_intent.succeeded' : 'payment_intent.amount_capturable_updated';
  call.state.emit(type, row.object, call.origin);
  return row.object;
}

const UNAUTHENTICATED = {
  code: 'authentication_required',
  decline_code: 'authentication_required',
  message: 'Your card was declined. This transaction requires authentication.',
} as const;

function find(call: Call): IntentRow {
  return call.state.paymentIntents.get(call.id, 'intent');
}

function latestCharge(call: Call, row: IntentRow) {
  return call.state.charges.get(row.object.latest_charge ?? '');
}

function requireStatus(row: IntentRow, verb: string, allowed: readonly PaymentIntentStatus[], part = ''): void {
  if (allowed.includes(row.object.status)) return;
  const message =
    `This PaymentIntent${part} could not be ${verb} because it has a status of ${row.object.status}. ` +
    `Only a PaymentIntent with one of the following statuses may be ${verb}: ${allowed.join(', ')}.`;
  throw wrongState('payment_intent_unexpected_state', message, { payment_intent: row.object });
}

function overcapture(capturable: number) {
  const message = `The amount_to_capture is greater than the PaymentIntent's amount_capturable (${capturable}).`;
  return wrongState('amount_too_large', message, { param: 'amount_to_capture' });
}

/** The intent with the given details changed. A payment method makes it ready for confirmation. */
function changed(before: PaymentIntent, params: Params<typeof UPDATE>): PaymentIntent {
  if (params.capture_method !== undefined && !CAPTURE_METHODS.includes(params.capture_method)) {
    throw invalidParam('capture_method', `Invalid capture_method: must be one of ${CAPTURE_METHODS.join(', ')}`);
  }
  const payment_method = textOr(params.payment_method, before.payment_method);
  const waits = before.status === 'requires_payment_method' || before.status === 'requires_confirmation';
  const ready = payment_method === null ? 'requires_payment_method' : 'requires_confirmation';
  return {
    ...before,
    amount: params.amount ?? before.amount,
    application_fee_amount: params.application_fee_amount ?? before.application_fee_amount,
    capture_method: (params.capture_method as CaptureMethod | undefined) ?? before.capture_method,
    currency: params.currency ?? before.currency,
    customer: textOr(params.customer, before.customer),
    description: textOr(params.description, before.description),
    metadata: mergeMetadata(before.metadata, params.metadata),
    payment_method,
    receipt_email: textOr(params.receipt_email, before.receipt_email),
    setup_future_usage: textOr(params.setup_future_usage, before.setup_future_usage),
    statement_descriptor: textOr(params.statement_descriptor, before.statement_descriptor),
    statement_descriptor_suffix: textOr(params.statement_descriptor_suffix, before.statement_descriptor_suffix),
    status: waits ? ready : before.status,
    transfer_group: textOr(params.transfer_group, before.transfer_group),
  };
}

function textOr(value: string | undefined, before: string | null): string | null {
  return value === undefined ? before : value || null;
}
