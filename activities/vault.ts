/** `vault()`: in a user's own activity, the vendor's official SDK, bound to the run's key and this record's audit row. */
import { ApplicationFailure } from '@temporalio/common';
import type { Resend as ResendSdk } from 'resend';
import type StripeSdk from 'stripe';
import type TwilioSdk from 'twilio';
import type { BoundCall } from './boundCall';
import { FAILURES } from './codes';
import { type CallContext, callContexts } from './callContext';
import { idempotencyKey, activityIdFor } from './recordKeys';
import { resendClient } from './resendClient';
import { withSdk } from './sdk';
import { stripeClient } from './stripeClient';
import { twilioClient } from './twilioClient';
import { vaultFetch } from './vaultFetch';

export interface ActivityVault {
  /**
   * The official Stripe SDK. Its POSTs carry this record's idempotency key, unless the call names its own. The proxy's
   * refusals are its own exceptions. Needs the package `stripe`, 17 or later.
   */
  readonly stripe: StripeSdk;
  /**
   * The official Twilio SDK, for the key's account. Every call carries this record's idempotency key, which Twilio itself
   * does not know and the proxy heeds. Needs the package `twilio`.
   */
  readonly twilio: TwilioSdk.Twilio;
  /**
   * The official Resend SDK. What Resend answers it returns as `{ data, error }`; what the proxy refuses it throws. Needs
   * the package `resend`.
   */
  readonly resend: ResendSdk;
  /**
   * `fetch` at the key's vendor: `fetch('/v1/payment_intents', { method: 'POST', body })`. `{AccountSid}` in the path is
   * the account of a Twilio key. Never aborted once it was sent.
   */
  readonly fetch: typeof globalThis.fetch;
  readonly keyId: string;
  readonly jobId: string;
}

/**
 * The vendor for one record, within `withVaultKey` or as the call of `pipelineRun`. `recordId` makes the idempotency
 * key: the same record is executed once per job, whatever is retried. A second paid call for one record needs a `suffix`
 * of its own. Without a record id, the activity must have an `activityId` of its own: Temporal's defaults repeat.
 * Throws a failure `keybrake.no_context` that names what is missing.
 */
export function vault(recordId?: string | number, suffix?: string): ActivityVault {
  const context = callContexts.getStore();
  const header = context?.header;
  if (context === undefined) throw noContext('Add new KeybrakePlugin() to the plugins of the worker that runs it.');
  if (header === undefined) {
    throw noContext(
      'Call the activity within withVaultKey(), or name it as the call.activity of pipelineRun; ' +
        'if it is, its workflow was bundled without KeybrakePlugin: give bundleWorkflowCode the plugin too.',
    );
  }
  const id = recordIdIn(context, recordId);
  const call: BoundCall = {
    context,
    keyId: header.keyId,
    recordKey: activityIdFor(id),
    idempotencyKey: idempotencyKey(header.jobId, id, suffix),
    offset: header.record?.ref.offset,
  };
  let stripe: StripeSdk | undefined;
  let twilio: TwilioSdk.Twilio | undefined;
  let resend: ResendSdk | undefined;
  return {
    get stripe() {
      return (stripe ??= withSdk('stripe', '17 or later', () => stripeClient(call)));
    },
    get twilio() {
      return (twilio ??= withSdk('twilio', '5 or later', () => twilioClient(call)));
    },
    get resend() {
      return (resend ??= withSdk('resend', '6 or later', () => resendClient(call)));
    },
    fetch: vaultFetch(call),
    keyId: header.keyId,
    jobId: header.jobId,
  };
}

function recordIdIn({ header, caller }: CallContext, recordId: string | number | undefined): string {
  if (typeof recordId === 'number' && Number.isFinite(recordId)) return String(recordId);
  if (typeof recordId === 'string' && recordId.trim() !== '') return recordId;
  if (recordId !== undefined) throw noRecord('The record id must be a text that is not empty, or a number.');
  const own = header?.record?.ref.id;
  if (typeof own === 'string') return own;
  // Temporal counts activities from 1 in each run: after continue-as-new, "1" is another record.
  if (!/^\d+$/.test(caller.activityId)) return caller.activityId;
  throw noRecord("Give the id of the record: vault(customer.id). Temporal's own activity ids repeat.");
}

function noContext(fix: string): ApplicationFailure {
  return ApplicationFailure.nonRetryable(`vault() has no vault key here. ${fix}`, FAILURES.noContext);
}

function noRecord(fix: string): ApplicationFailure {
  return ApplicationFailure.nonRetryable(`vault() does not know the record. ${fix}`, FAILURES.noContext);
}
