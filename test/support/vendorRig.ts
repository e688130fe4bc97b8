/** The real proxy with accounts at each vendor's stand-in: one, one that is paced, and one at an address where nobody listens. */
import { createServer, type AddressInfo } from 'node:net';
import type { IssuedKey, IssueKeyBody } from '../../proxy/contract';
import type { AccountOptions } from '../../proxy/options';
import { type Sandbox, startSandbox } from '../../src/sandbox';
import type { TestProxyOptions } from '../../src/testing';
import { startTestProxy, type StoredProxy } from './proxy';

export const VENDORS = ['stripe', 'twilio', 'resend'] as const;
export type VendorName = (typeof VENDORS)[number];
export const TWILIO_ACCOUNT = `AC${'0a'.repeat(16)}`;

const SECRETS = {
  stripe: 'sk_test_vendors_0123456789',
  twilio: 'twilio_token_0123456789',
  resend: 're_vendors_0123456789',
};

export interface VendorRig {
  readonly sandbox: Sandbox;
  readonly proxy: StoredProxy;
  issue(body: Partial<IssueKeyBody> & Pick<IssueKeyBody, 'vendor' | 'allowed_endpoints'>): Promise<IssuedKey>;
  close(): Promise<void>;
}

export async function startVendorRig(options: Partial<TestProxyOptions> = {}): Promise<VendorRig> {
  const sandbox = await startSandbox({
    secretKey: SECRETS.stripe,
    twilio: { accountSid: TWILIO_ACCOUNT, authToken: SECRETS.twilio },
    resend: { apiKey: SECRETS.resend },
  });
  const nobody = `http://127.0.0.1:${await freePort()}`;
  const proxy = await startTestProxy({
    upstream: sandbox.url,
    accounts: {
      ...accountsAt(sandbox.url, ''),
      ...accountsAt(nobody, '_down'),
      ...accountsAt(sandbox.url, '_paced', { maxRps: 0.01 }),
    },
    ...options,
  });
  return {
    sandbox,
    proxy,
    issue: (body) => proxy.client.issueKey({ usd_cap: 100, expires_in: '1h', agent_run_label: 'test', ...body }),
    async close() {
      await proxy.close();
      await sandbox.stop();
    },
  };
}

function accountsAt(
  upstream: string,
  suffix: string,
  more: Partial<AccountOptions> = {},
): Record<string, AccountOptions> {
  const account = (vendor: VendorName): AccountOptions => ({
    vendor,
    secret: SECRETS[vendor],
    upstream,
    ...(vendor === 'twilio' && { accountId: TWILIO_ACCOUNT }),
    ...more,
  });
  return Object.fromEntries(VENDORS.map((vendor) => [vendor + suffix, account(vendor)]));
}

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => {
    server.close(resolve);
  });
  return port;
}
