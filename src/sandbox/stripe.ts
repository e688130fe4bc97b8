/** The routes of the Stripe stand-in, and the execution of one call. */
import { captureCharge, createCharge } from './charges';
import { createCustomer, updateCustomer } from './customers';
import { StripeFailure } from './errors';
import { textsOf } from './form';
import type { Answer } from './idempotency';
import { expandObject, listEvents, listOf, listRefundsOfCharge } from './lists';
import {
  cancelPaymentIntent,
  capturePaymentIntent,
  confirmPaymentIntent,
  createPaymentIntent,
  incrementAuthorization,
  updatePaymentIntent,
} from './payment-intents';
import { parseParams } from './params';
import type { Charge, Customer, PaymentIntent, Refund } from './objects';
import { createRefund, refundCharge } from './refunds';
import type { Call, StripeState, Table } from './state';

/** An endpoint. A priced one moves money or readies it, and is what faults strike. */
export interface Route {
  readonly run: (call: Call) => unknown;
  readonly priced: boolean;
}

/** A route with the id that its path names (empty where it names none). */
export interface Target {
  readonly route: Route;
  readonly id: string;
}

const ROUTES: ReadonlyMap<string, Route> = new Map([
  ['POST /v1/payment_intents', priced(createPaymentIntent)],
  ['POST /v1/payment_intents/:id', priced(updatePaymentIntent)],
  ['POST /v1/payment_intents/:id/confirm', priced(confirmPaymentIntent)],
  ['POST /v1/payment_intents/:id/capture', priced(capturePaymentIntent)],
  ['POST /v1/payment_intents/:id/increment_authorization', priced(incrementAuthorization)],
  ['POST /v1/payment_intents/:id/cancel', priced(cancelPaymentIntent)],
  ['GET /v1/payment_intents/:id', free(retrieve((state) => state.paymentIntents, 'intent'))],
  [
    'GET /v1/payment_intents',
    free(listOf<PaymentIntent>((state) => state.paymentIntents, '/v1/payment_intents', ['customer'])),
  ],
  ['POST /v1/charges', priced(createCharge)],
  ['POST /v1/charges/:id/capture', priced(captureCharge)],
  ['POST /v1/charges/:id/refund', priced(refundCharge)],
  ['POST /v1/charges/:id/refunds', priced(createRefund)],
  ['GET /v1/charges/:id', free(retrieve((state) => state.charges))],
  ['GET /v1/charges/:id/refunds', free(listRefundsOfCharge)],
  ['GET /v1/charges', free(listOf<Charge>((state) => state.charges, '/v1/charges', ['customer', 'payment_intent']))],
  ['POST /v1/refunds', priced(createRefund)],
  ['GET /v1/refunds/:id', free(retrieve((state) => state.refunds))],
  ['GET /v1/refunds', free(listOf<Refund>((state) => state.refunds, '/v1/refunds', ['charge', 'payment_intent']))],
  ['POST /v1/customers', free(createCustomer)],
  ['POST /v1/customers/:id', free(updateCustomer)],
  ['GET /v1/customers/:id', free(retrieve((state) => state.customers))],
  ['GET /v1/customers', free(listOf<Customer>((state) => state.customers, '/v1/customers', ['email']))],
  ['GET /v1/events/:id', free(retrieve((state) => state.events))],
  ['GET /v1/events', free(listEvents)],
]);

/** The route of a request line, or undefined where the API has none. */
export function findRoute(method: string, path: string): Target | undefined {
  const plain = ROUTES.get(`${method} ${path}`);
  if (plain !== undefined) return { route: plain, id: '' };
  const [, version, kind, id, action, ...more] = path.split('/');
  if (id === undefined || id === '' || more.length > 0) return undefined;
  const route = ROUTES.get(`${method} /${version}/${kind}/:id${action === undefined ? '' : `/${action}`}`);
  return route && { route, id };
}

/** Runs an endpoint. A failure that Stripe would store is an answer; any other is thrown. */
export function execute(route: Route, call: Call): Answer {
  try {
    const object = route.run(call);
    return { status: 200, body: expandObject(call.state, object, textsOf(call.form['expand'])) };
  } catch (error) {
    if (error instanceof StripeFailure && error.executed) return { status: error.status, body: error.body };
    throw error;
  }
}

function priced(run: (call: Call) => unknown): Route {
  return { run, priced: true };
}

function free(run: (call: Call) => unknown): Route {
  return { run, priced: false };
}

function retrieve<T extends { readonly id: string; readonly object: string }>(
  table: (state: StripeState) => Table<T>,
  param = 'id',
): (call: Call) => T {
  return (call) => {
    parseParams(call.form, { client_secret: 'string' });
    return table(call.state).get(call.id, param).object;
  };
}
