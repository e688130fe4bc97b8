/** The stand-ins on one port, told apart by path: what is neither Twilio's nor Resend's is Stripe's. */
import { FaultInjector } from './faults';
import { RequestLog, type VendorName } from './request-log';
import { ResendProtocol, isResendPath } from './resend/protocol';
import type { ResendOptions } from './resend/protocol';
import { type ResendStats, type SandboxEmail, listSandboxEmails, summariseResend } from './resend/stats';
import { type SandboxCharge, type StripeStats, listCharges, summarise } from './stats';
import { StripeProtocol } from './stripe-protocol';
import { type Advanced, advance } from './twilio/advance';
import { TwilioProtocol } from './twilio/protocol';
import type { TwilioOptions } from './twilio/protocol';
import { isTwilioPath } from './twilio/routes';
import { type SandboxMessage, type TwilioStats, listMessages, summariseTwilio } from './twilio/stats';
import { Vendor } from './vendor';

/** What all vendors have done. */
export interface SandboxStats {
  readonly stripe: StripeStats;
  readonly twilio: TwilioStats;
  readonly resend: ResendStats;
}

/** How the vendors behave. */
export interface VendorsOptions {
  readonly secretKey: string | undefined;
  readonly twilio: TwilioOptions;
  readonly resend: ResendOptions;
  readonly delayMs: number;
  readonly limitPerSecond: number | undefined;
  readonly log: boolean;
  readonly now: () => number;
}

const EMAIL_MICROS = 900;
const NAMES: readonly VendorName[] = ['stripe', 'twilio', 'resend'];

/** Whether a text names a vendor. */
export function isVendorName(text: string): text is VendorName {
  return NAMES.some((name) => name === text);
}

/** All vendors, with one log. */
export class Vendors {
  readonly log = new RequestLog();
  readonly #stripe: StripeProtocol;
  readonly #twilio: TwilioProtocol;
  readonly #resend: ResendProtocol;
  readonly #emailMicros: number;
  readonly #vendors: Readonly<Record<VendorName, Vendor>>;

  constructor({ secretKey, twilio, resend, delayMs, limitPerSecond, log, now }: VendorsOptions) {
    this.#stripe = new StripeProtocol(secretKey, now);
    this.#twilio = new TwilioProtocol(twilio, now);
    this.#resend = new ResendProtocol(resend, now);
    this.#emailMicros = resend.unitMicros ?? EMAIL_MICROS;
    const options = { delayMs, limitPerSecond, log: log ? this.log : undefined, now };
    this.#vendors = {
      stripe: new Vendor(this.#stripe, options),
      twilio: new Vendor(this.#twilio, options),
      resend: new Vendor(this.#resend, options),
    };
  }

  /** The vendor that a request target is meant for. */
  of(target: string): Vendor {
    const path = target.split('?')[0] ?? '';
    if (isTwilioPath(path)) return this.#vendors.twilio;
    return isResendPath(path) ? this.#vendors.resend : this.#vendors.stripe;
  }

  stats(): SandboxStats {
    this.#twilio.settle();
    const { stripe, twilio, resend } = this.#vendors;
    return {
      stripe: summarise(this.#stripe.state, stripe.counts),
      twilio: summariseTwilio(this.#twilio.state, twilio.counts),
      resend: summariseResend(this.#resend.state, this.#emailMicros, resend.counts),
    };
  }

  charges(): readonly SandboxCharge[] {
    return listCharges(this.#stripe.state);
  }

  messages(): readonly SandboxMessage[] {
    this.#twilio.settle();
    return listMessages(this.#twilio.state);
  }

  emails(): readonly SandboxEmail[] {
    return listSandboxEmails(this.#resend.state, this.#emailMicros);
  }

  advance(options: unknown): Promise<Advanced[]> {
    return advance(this.#twilio.state, options);
  }

  /** Replaces the faults of one vendor, or of each; every vendor counts and draws for itself. */
  setFaults(faults: unknown, only?: VendorName): FaultInjector['settings'] {
    const { settings } = new FaultInjector(faults);
    for (const name of NAMES) {
      if (only === undefined || only === name) this.#vendors[name].faults = new FaultInjector(faults);
    }
    return settings;
  }

  /** Forgets everything, injected faults too. */
  reset(): void {
    this.log.clear();
    for (const name of NAMES) this.#vendors[name].reset();
  }

  /** Posts no more callbacks. */
  close(): void {
    this.#twilio.state.callbacks.close();
  }
}
