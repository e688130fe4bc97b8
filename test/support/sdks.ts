/** The six official SDKs, unmodified, with nothing set but base URL and key, behind one face. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { Resend } from 'resend';
// oxlint-disable-next-line import/no-named-as-default
import Stripe from 'stripe';
// oxlint-disable-next-line import/no-named-as-default
import twilio from 'twilio';
import { startPython } from './python';
import { TWILIO_ACCOUNT, VENDORS, type VendorName } from './vendorRig';

/** What a caller of the SDK sees: an id, or the exception and what can be read from it. */
export interface Outcome {
  readonly id?: string;
  readonly exception?: string;
  readonly status?: number;
  /** From where the SDK's documentation has it: see docs/sdks.md. */
  readonly code?: string;
  readonly message?: string;
}

export interface Sdk {
  readonly name: string;
  readonly vendor: VendorName;
  /** Undefined: the vendor, or the SDK, has no such call. */
  act(name: string, vaultKey: string, idempotencyKey?: string): Promise<Outcome>;
  close(): Promise<void>;
}

const OTHER_ACCOUNT = `AC${'0f'.repeat(16)}`;
const MESSAGE = `SM${'0e'.repeat(16)}`;

type Acts = Readonly<Record<string, (vaultKey: string, idempotencyKey?: string) => Promise<Outcome>>>;

/** In the order of the table. */
export async function openSdks(url: string): Promise<readonly Sdk[]> {
  const node = { stripe: stripeActs(url), twilio: twilioActs(url), resend: resendActs(url) };
  const pairs = VENDORS.map(async (vendor) => [nodeSdk(vendor, node[vendor]), await pythonSdk(vendor, url)]);
  return (await Promise.all(pairs)).flat();
}

function nodeSdk(vendor: VendorName, acts: Acts): Sdk {
  return {
    name: `${vendor} (npm)`,
    vendor,
    async act(name, vaultKey, idempotencyKey) {
      const act = acts[name];
      if (act === undefined) throw new Error(`${vendor} (npm) has no act "${name}".`);
      return act(vaultKey, idempotencyKey);
    },
    close: () => Promise.resolve(),
  };
}

async function pythonSdk(vendor: VendorName, url: string): Promise<Sdk> {
  const child: ChildProcess = await startPython('sdks.py', [vendor, url]);
  const lines = createInterface({ input: child.stdout! });
  return {
    name: `${vendor} (PyPI)`,
    vendor,
    async act(act, key, idempotencyKey) {
      const answered = once(lines, 'line');
      child.stdin!.write(`${JSON.stringify({ act, key, idempotency_key: idempotencyKey })}\n`);
      return JSON.parse(String((await answered)[0])) as Outcome;
    },
    async close() {
      const ended = once(child, 'close');
      child.stdin!.end();
      await ended;
    },
  };
}

function stripeActs(url: string): Acts {
  const { hostname: host, port } = new URL(url);
  const sdk = (key: string) => new Stripe(key, { host, port, protocol: 'http' });
  const five = { amount: 500, currency: 'usd', confirm: true } as const;
  const read = (error: Stripe.errors.StripeError): Outcome => ({
    exception: error.type,
    ...(error.statusCode !== undefined && { status: error.statusCode }),
    ...(error.code !== undefined && { code: error.code }),
    message: error.message,
  });
  const calling =
    (call: (sdk: Stripe, options: Stripe.RequestOptions) => Promise<{ id: string }>) =>
    async (key: string, idempotencyKey?: string): Promise<Outcome> => {
      try {
        const { id } = await call(sdk(key), idempotencyKey === undefined ? {} : { idempotencyKey });
        return { id };
      } catch (error) {
        return error instanceof Stripe.errors.StripeError ? read(error) : foreign(error);
      }
    };
  const charge = (more: Partial<Stripe.PaymentIntentCreateParams>) =>
    calling((client, options) => client.paymentIntents.create({ ...five, ...more }, options));
  return {
    pay: charge({}),
    'pay other': charge({ amount: 501 }),
    large: charge({ description: 'x'.repeat(300_000) }),
    'too large': charge({ description: 'x'.repeat(1_200_000) }),
    declined: charge({ customer: 'cus_decline' }),
    unpriceable: charge({ amount: -5 }),
    currency: charge({ currency: 'eur' }),
    parameter: charge({ transfer_data: { destination: 'acct_1' } }),
    account: calling((client) => client.paymentIntents.create(five, { stripeAccount: 'acct_1' })),
    forbidden: calling((client) => client.accounts.retrieve('acct_1')),
    unpriced: calling((client) => client.subscriptions.create({ customer: 'cus_1', items: [{ price: 'price_1' }] })),
    'not on the list': calling((client) => client.customers.create({ name: 'x' })),
  };
}

interface TwilioError extends Error {
  readonly status: number;
  readonly code: number;
  readonly details?: { readonly keybrake_code?: string };
}

function twilioActs(url: string): Acts {
  const sdk = (key: string, account = TWILIO_ACCOUNT) => {
    const client = twilio(account, key);
    client.api.baseUrl = `${url}/twilio`;
    return client;
  };
  const calling =
    (call: (key: string) => Promise<{ sid: string }>) =>
    async (key: string): Promise<Outcome> => {
      try {
        return { id: (await call(key)).sid };
      } catch (error) {
        if (!(error instanceof twilio.RestException)) return foreign(error);
        const { status, code, details, message } = error as unknown as TwilioError;
        return { exception: 'RestException', status, code: details?.keybrake_code ?? String(code), message };
      }
    };
  const given = { to: '+14155550100', from: '+15005550006', body: 'hi' };
  // Equal texts to one number leave one at a time; these are each their own.
  let texts = 0;
  const text = (more: object) =>
    calling((key) => sdk(key).messages.create({ ...given, body: `hi ${(texts += 1)}`, ...more }));
  const twiml = '<Response><Hangup/></Response>';
  return {
    pay: text({}),
    read: calling((key) => sdk(key).messages(MESSAGE).fetch()),
    'too large': text({ body: 'x'.repeat(1_200_000) }),
    declined: text({ body: 'x'.repeat(1_601) }),
    unpriceable: text({ to: '+4915112345678' }),
    parameter: calling((key) => sdk(key).messages(MESSAGE).update({ body: 'x' })),
    account: calling((key) => sdk(key, OTHER_ACCOUNT).messages.create(given)),
    forbidden: calling((key) => sdk(key).api.v2010.accounts(TWILIO_ACCOUNT).fetch()),
    unpriced: calling((key) => sdk(key).incomingPhoneNumbers.create({ phoneNumber: '+14155550199' })),
    'not on the list': calling((key) => sdk(key).calls.create({ to: given.to, from: given.from, twiml })),
  };
}

function resendActs(url: string): Acts {
  const sdk = (key: string) => new Resend(key, { baseUrl: `${url}/resend` });
  const mail = { from: 'a@b.test', to: ['c@d.test'], subject: 's', text: 't' };
  interface Answer {
    readonly data: object | null;
    readonly error: { readonly name: string; readonly message: string; readonly statusCode: number | null } | null;
  }
  const calling =
    (call: (client: Resend, options: { idempotencyKey?: string }) => Promise<Answer>) =>
    async (key: string, idempotencyKey?: string): Promise<Outcome> => {
      const options = idempotencyKey === undefined ? {} : { idempotencyKey };
      const { data, error } = await call(sdk(key), options);
      if (error === null) return { id: (data as { id: string }).id };
      const { name, message, statusCode } = error;
      return { exception: '{ error }', code: name, message, ...(statusCode !== null && { status: statusCode }) };
    };
  const send = (more: object) => calling((client, options) => client.emails.send({ ...mail, ...more }, options));
  return {
    pay: send({}),
    'pay other': send({ subject: 'other' }),
    'too large': send({ text: 'x'.repeat(1_200_000) }),
    declined: send({ from: 'nobody' }),
    unpriceable: send({ to: 'c@d.test, e@f.test' }),
    parameter: send({ headers: { Bcc: 'e@f.test' } }),
    forbidden: calling((client) => client.apiKeys.create({ name: 'x' })),
    unpriced: calling((client) => client.broadcasts.send('b1')),
    'not on the list': calling((client) => client.emails.cancel('e1')),
  };
}

function foreign(error: unknown): Outcome {
  return { exception: `not the SDK's own: ${String(error)}` };
}
