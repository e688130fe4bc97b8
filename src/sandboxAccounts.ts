/** An account of each vendor at a sandbox, each with a secret of its own: for `keybrake dev`, the demo and tests. */
import { randomBytes } from 'node:crypto';
import type { AccountOptions } from '../proxy/options';
import type { SandboxOptions } from './sandbox';
import { randomSecret } from './secrets';

export interface SandboxAccounts {
  /** For `startSandbox`: it takes these secrets and no others. */
  readonly sandbox: SandboxOptions;
  /** For `startProxy`, once it is known where the sandbox listens. */
  readonly at: (upstream: string) => Readonly<Record<'stripe' | 'twilio' | 'resend', AccountOptions>>;
}

/** The accounts; what `given` names stays. */
export function sandboxAccounts(given: SandboxOptions = {}): SandboxAccounts {
  const secretKey = given.secretKey ?? randomSecret('sk_test_');
  const accountSid = given.twilio?.accountSid ?? `AC${randomBytes(16).toString('hex')}`;
  const authToken = given.twilio?.authToken ?? randomSecret('twilio_test_');
  const apiKey = given.resend?.apiKey ?? randomSecret('re_test_');
  return {
    sandbox: {
      ...given,
      secretKey,
      twilio: { ...given.twilio, accountSid, authToken },
      resend: { ...given.resend, apiKey },
    },
    at: (upstream) => ({
      stripe: { vendor: 'stripe', secret: secretKey, upstream },
      twilio: { vendor: 'twilio', secret: authToken, accountId: accountSid, upstream },
      resend: { vendor: 'resend', secret: apiKey, upstream },
    }),
  };
}
