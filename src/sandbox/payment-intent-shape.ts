/** What goes into a PaymentIntent, endpoint by endpoint, and what a new one looks like. */
import type { PaymentIntent } from './objects';
import type { Fields } from './params';
import type { Call } from './state';

/** What create, update and confirm have in common. */
const DETAILS = {
  allowed_payment_method_types: 'any',
  amount_details: 'any',
  application_fee_amount: 'integer',
  capture_method: 'string',
  customer: 'string',
  customer_account: 'any',
  description: 'string',
  excluded_payment_method_types: 'any',
  hooks: 'any',
  metadata: 'hash',
  payment_details: 'any',
  payment_method: 'string',
  payment_method_configuration: 'any',
  payment_method_data: 'any',
  payment_method_options: 'any',
  payment_method_types: 'any',
  receipt_email: 'string',
  setup_future_usage: 'string',
  shipping: 'any',
  statement_descriptor: 'string',
  statement_descriptor_suffix: 'string',
  transfer_data: 'any',
  transfer_group: 'string',
} as const satisfies Fields;

const CONFIRMATION = {
  confirmation_token: 'any',
  error_on_requires_action: 'boolean',
  mandate: 'any',
  mandate_data: 'any',
  off_session: 'any',
  radar_options: 'any',
  return_url: 'any',
  use_stripe_sdk: 'boolean',
} as const satisfies Fields;

/** The parameters of `POST /v1/payment_intents`. */
export const CREATE = {
  ...DETAILS,
  ...CONFIRMATION,
  amount: 'amount',
  automatic_payment_methods: 'hash',
  confirm: 'boolean',
  confirmation_method: 'string',
  currency: 'currency',
  on_behalf_of: 'string',
} as const satisfies Fields;
/** The parameters of `POST /v1/payment_intents/{id}`. */
export const UPDATE = { ...DETAILS, amount: 'amount', currency: 'currency' } as const satisfies Fields;
/** The parameters of `.../confirm`. */
export const CONFIRM = { ...DETAILS, ...CONFIRMATION, amount_to_confirm: 'amount' } as const satisfies Fields;
/** The parameters of `.../capture`. */
export const CAPTURE = {
  amount_details: 'any',
  amount_to_capture: 'amount',
  application_fee_amount: 'integer',
  final_capture: 'boolean',
  hooks: 'any',
  metadata: 'hash',
  payment_details: 'any',
  statement_descriptor: 'string',
  statement_descriptor_suffix: 'string',
  transfer_data: 'any',
} as const satisfies Fields;
/** The parameters of `.../increment_authorization`. */
export const INCREMENT = {
  amount: 'amount',
  amount_details: 'any',
  application_fee_amount: 'integer',
  description: 'string',
  hooks: 'any',
  metadata: 'hash',
  payment_details: 'any',
  statement_descriptor: 'string',
  transfer_data: 'any',
} as const satisfies Fields;

/** An intent before anything but its amount is known. */
export function newIntent(call: Call, amount: number, currency: string): PaymentIntent {
  const id = call.state.newId('pi');
  return {
    id,
    object: 'payment_intent',
    amount,
    amount_capturable: 0,
    amount_details: { tip: {} },
    amount_received: 0,
    application: null,
    application_fee_amount: null,
    automatic_payment_methods: null,
    canceled_at: null,
    cancellation_reason: null,
    capture_method: 'automatic_async',
    client_secret: `${id}_secret_sandbox`,
    confirmation_method: 'automatic',
    created: call.state.seconds(),
    currency,
    customer: null,
    description: null,
    last_payment_error: null,
    latest_charge: null,
    livemode: false,
    metadata: {},
    next_action: null,
    on_behalf_of: null,
    payment_method: null,
    payment_method_options: {},
    payment_method_types: ['card'],
    processing: null,
    receipt_email: null,
    review: null,
    setup_future_usage: null,
    shipping: null,
    source: null,
    statement_descriptor: null,
    statement_descriptor_suffix: null,
    status: 'requires_payment_method',
    transfer_data: null,
    transfer_group: null,
  };
}
