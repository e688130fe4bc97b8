/**
 * DESIGN 4: the six official SDKs, with nothing set but base URL and key, raise their own exception for each refusal,
 * its code readable, after one attempt where a retry cannot help. What each does is printed into docs/sdks.md.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type IssuedKey, type IssueKeyBody, isRefusalCode, REFUSALS } from '../proxy/contract';
import { countReceived, type Received } from './support/received';
import { until } from './support/rig';
import { openSdks, type Outcome, type Sdk } from './support/sdks';
import { startVendorRig, type VendorName, type VendorRig, VENDORS } from './support/vendorRig';

const DOC = join(__dirname, '../docs/sdks.md');
const BLOCK = /(<!-- sdks:[^\n]*-->\n)([\s\S]*?)(<!-- \/sdks -->)/;

const ALLOWED = {
  stripe: ['POST /v1/payment_intents'],
  twilio: [
    'POST /2010-04-01/Accounts/:AccountSid/Messages.json',
    'POST /2010-04-01/Accounts/:AccountSid/Messages/:Sid.json',
    'GET /2010-04-01/Accounts/:AccountSid/Messages/:Sid.json',
  ],
  resend: ['POST /emails'],
};
/** What the act `pay` costs. */
const PRICE = { stripe: 5, twilio: 0.02, resend: 0.0009 };
/** At the vendor, when it is slow: longer than an SDK goes on retrying. */
const SLOW_MS = 5_000;
/** These retry by themselves where the proxy says that it may help; the others leave it to the caller. */
const RETRYING: ReadonlySet<string> = new Set(['stripe (npm)']);

let rig: VendorRig;
let received: Received;
let sdks: readonly Sdk[];
beforeAll(async () => {
  rig = await startVendorRig({ budgetWaitMs: 50, claimWaitMs: 50, paceWaitMs: 50 });
  received = countReceived(rig.proxy.port);
  sdks = await openSdks(rig.proxy.url);
}, 300_000);
afterAll(async () => {
  await Promise.all(sdks.map((sdk) => sdk.close()));
  received.stop();
  await rig.close();
});
beforeEach(() => rig.sandbox.reset());

interface Situation {
  readonly code: string;
  /** The call that meets it; `pay` if not said. */
  readonly act?: string | Partial<Record<VendorName, string>>;
  readonly key?: (vendor: VendorName) => Partial<IssueKeyBody>;
  readonly idempotencyKey?: string;
  readonly only?: readonly VendorName[];
  /** Brings it about, for one SDK and key; what it answers with undoes it. */
  readonly before?: (sdk: Sdk, key: IssuedKey) => Promise<(() => Promise<unknown>) | void>;
  /** Brings it about for all of them; likewise. */
  readonly beforeAll?: () => Promise<() => Promise<unknown>>;
  /** The key to call with, if it is not the one issued. */
  readonly use?: (sdk: Sdk) => string;
}

const nodeSibling = (sdk: Sdk) => sdks.find(({ vendor, name }) => vendor === sdk.vendor && name.endsWith('(npm)'))!;

/** Idempotency keys belong to the account, so each SDK has its own. */
const ownKey = (sdk: Sdk, name?: string) => (name === undefined ? undefined : `${sdk.name} ${name}`);

/** A call by the Node sibling of the same SDK that is at its vendor meanwhile. */
function underWay(act: string, idempotencyKey?: string): Pick<Situation, 'before' | 'beforeAll'> {
  return {
    beforeAll: async () => {
      rig.sandbox.setFaults({ delayMs: SLOW_MS, all: true });
      return () => Promise.resolve(rig.sandbox.setFaults({}));
    },
    before: async (sdk, key) => {
      const { client } = rig.proxy;
      const held = async () => (await client.getKey(key.key_id)).spend.calls.held > 0 || undefined;
      const first = nodeSibling(sdk).act(act, key.vault_key, ownKey(sdk, idempotencyKey));
      await until(`a call of ${sdk.name} is under way`, held);
      received.take(key.vault_key);
      return () => first;
    },
  };
}

/** A call before, which succeeds. */
function executed(act: string, idempotencyKey: string): Pick<Situation, 'before'> {
  return {
    before: async (sdk, { vault_key: key }) => {
      expect((await sdk.act(act, key, ownKey(sdk, idempotencyKey))).id).toMatch(/./);
      received.take(key);
    },
  };
}

const UNKNOWN_KEY = '00000000000000000000000000_000000000000000000000000000000000000000';
const KEYED: readonly VendorName[] = ['stripe', 'resend'];

// prettier-ignore
const SITUATIONS: readonly Situation[] = [
  { code: 'success' },
  { code: 'key_invalid', use: (sdk) => `vk_${UNKNOWN_KEY}${sdks.indexOf(sdk)}` },
  { code: 'key_revoked', before: async (_sdk, { key_id: id }) => void (await rig.proxy.client.revokeKey(id, 'stop')) },
  { code: 'key_expired', key: () => ({ expires_in: 1 }), before: async (_sdk, { key_id: id }) => {
    await until('it has expired', async () => (await rig.proxy.client.getKey(id)).state === 'expired' || undefined);
  } },
  { code: 'payload_too_large', act: 'too large' },
  // Resend's calls name no account; below, each SDK meets this refusal with another vendor's key.
  { code: 'account_not_allowed', act: 'account', only: ['stripe', 'twilio'] },
  { code: 'endpoint_forbidden', act: 'forbidden' },
  { code: 'endpoint_unpriced', act: 'unpriced' },
  { code: 'endpoint_not_allowed', act: 'not on the list' },
  { code: 'request_unpriceable', act: 'unpriceable' },
  { code: 'parameter_not_allowed', act: 'parameter' },
  { code: 'currency_not_allowed', act: 'currency', only: ['stripe'] },
  // Stripe's SDKs give each call a key of their own.
  { code: 'idempotency_key_required', key: () => ({ require_idempotency_key: true }), only: ['twilio', 'resend'] },
  { code: 'per_call_cap_exceeded', key: () => ({ max_usd_per_call: 0.0001 }) },
  { code: 'idempotency_mismatch', act: 'pay other', idempotencyKey: 'm', only: KEYED, ...executed('pay', 'm') },
  { code: 'idempotency_in_progress', idempotencyKey: 'p', only: KEYED, ...underWay('pay', 'p') },
  { code: 'already_executed', act: 'large', idempotencyKey: 'l', only: ['stripe'], ...executed('large', 'l') },
  { code: 'cap_exhausted', key: () => ({ usd_cap: 0.0001 }) },
  { code: 'budget_busy', key: (vendor) => ({ usd_cap: PRICE[vendor] * 1.5 }), ...underWay('pay', 'busy') },
  { code: 'rate_limited', key: (vendor) => ({ account: `${vendor}_paced` }), beforeAll: slotsTaken },
  { code: 'upstream_unreachable', key: (vendor) => ({ account: `${vendor}_down` }) },
  { code: 'outcome_unknown', beforeAll: async () => {
    rig.sandbox.setFaults({ dropAfter: 1 });
    return () => Promise.resolve(rig.sandbox.setFaults({}));
  } },
  { code: 'store_unavailable', beforeAll: ledgerGone },
  { code: 'the vendor’s own refusal', act: 'declined' },
];

/** The ledger is gone, as when its disk is unmounted; what it answers with brings it back. */
async function ledgerGone(): Promise<() => Promise<unknown>> {
  const key = await rig.issue({ vendor: 'stripe', allowed_endpoints: ALLOWED.stripe, usd_cap: 0 });
  const body = new URLSearchParams({ amount: '500', currency: 'usd', confirm: 'true' });
  const headers = { authorization: `Bearer ${key.vault_key}` };
  const charge = () => fetch(`${rig.proxy.url}/v1/payment_intents`, { method: 'POST', headers, body });
  const findLedger = await rig.proxy.loseLedger();
  await until('the proxy has noticed', async () => (await charge()).status === 503 || undefined);
  return async () => {
    await findLedger();
    await until('the proxy has noticed', async () => (await charge()).status !== 503 || undefined);
  };
}

/** The one call that a paced account may send in a minute has left. */
async function slotsTaken(): Promise<() => Promise<unknown>> {
  for (const sdk of sdks.filter((each) => each === nodeSibling(each))) {
    const { vendor } = sdk;
    const key = await rig.issue({ vendor, allowed_endpoints: ALLOWED[vendor], account: `${vendor}_paced` });
    expect((await sdk.act('pay', key.vault_key)).id).toMatch(/./);
  }
  return () => Promise.resolve();
}

interface Met extends Outcome {
  readonly sdk: string;
  readonly attempts: number;
}

async function meet(situation: Situation): Promise<readonly Met[]> {
  const { only = VENDORS, key: body, before, act = 'pay', use, idempotencyKey } = situation;
  const asked = sdks.filter(({ vendor }) => only.includes(vendor));
  const keys = await Promise.all(
    asked.map(({ vendor }) => rig.issue({ vendor, allowed_endpoints: ALLOWED[vendor], ...body?.(vendor) })),
  );
  const undo: ((() => Promise<unknown>) | undefined)[] = [await situation.beforeAll?.()];
  try {
    const meetIt = async (sdk: Sdk, index: number): Promise<Met> => {
      const key = keys[index]!;
      undo.push((await before?.(sdk, key)) ?? undefined);
      const vaultKey = use?.(sdk) ?? key.vault_key;
      const name = typeof act === 'string' ? act : (act[sdk.vendor] ?? 'pay');
      const outcome = await sdk.act(name, vaultKey, ownKey(sdk, idempotencyKey));
      return { sdk: sdk.name, attempts: received.take(vaultKey), ...outcome };
    };
    if (before !== undefined || situation.beforeAll !== undefined) return await Promise.all(asked.map(meetIt));
    // Equal texts of Twilio's leave one at a time, and who waits longer than this rig lets him is told to come back.
    const outcomes: Met[] = [];
    for (const [index, sdk] of asked.entries()) outcomes.push(await meetIt(sdk, index));
    return outcomes;
  } finally {
    for (const end of undo) await end?.();
  }
}

const met = new Map<string, readonly Met[]>();

describe('each SDK, with nothing set but base URL and key', () => {
  test.each(SITUATIONS)('meets $code as its own exception', async (situation) => {
    const { code } = situation;
    const outcomes = await meet(situation);
    met.set(code, outcomes);
    if (code === 'success') {
      for (const { sdk, id, attempts } of outcomes)
        expect({ sdk, id, attempts }).toMatchObject({ id: expect.stringMatching(/./), attempts: 1 });
      return;
    }
    if (!isRefusalCode(code)) {
      for (const { attempts, code: own } of outcomes)
        expect({ attempts, ours: isRefusalCode(own) }).toEqual({ attempts: 1, ours: false });
      return;
    }
    const { retry } = REFUSALS[code];
    for (const { sdk, ...outcome } of outcomes) {
      const attempts = retry && RETRYING.has(sdk) ? 3 : 1;
      const message = expect.stringContaining(code);
      expect({ sdk, ...outcome }).toMatchObject({ sdk, code, message, attempts });
      expect(outcome.status).toBe(
        code === 'idempotency_mismatch' && !sdk.startsWith('stripe') ? 409 : REFUSALS[code].status,
      );
      expect(outcome.exception).not.toContain('not the SDK');
    }
  });

  test.each(VENDORS)(
    'with a key for %s, where that is not its vendor, meets account_not_allowed as its own',
    async (vendor) => {
      const strangers = sdks.filter((sdk) => sdk.vendor !== vendor);
      const { vault_key: key } = await rig.issue({ vendor, allowed_endpoints: ALLOWED[vendor] });
      for (const sdk of strangers) {
        const { exception, code, message } = await sdk.act('pay', key);
        expect({ sdk: sdk.name, code }).toEqual({ sdk: sdk.name, code: 'account_not_allowed' });
        expect(exception).not.toContain('not the SDK');
        expect(message).toContain(`the path is ${sdk.vendor}'s and the vault key is for ${vendor}`);
      }
    },
  );

  test('meets every refusal that it can', () => {
    const situations = SITUATIONS.map(({ code }) => code);
    expect(Object.keys(REFUSALS).filter((code) => !situations.includes(code))).toEqual([]);
  });

  test('does what docs/sdks.md says (UPDATE_README=1 writes the table)', () => {
    const text = readFileSync(DOC, 'utf8');
    const table = tableOf();
    console.info(table);
    if (process.env['UPDATE_README'] === '1') {
      writeFileSync(
        DOC,
        text.replace(BLOCK, (_, open, __, close) => open + table + close),
      );
      return;
    }
    expect(BLOCK.exec(text)?.[2]).toBe(table);
  });
});

/** One row for each situation, one column for each SDK. */
function tableOf(): string {
  const names = sdks.map(({ name }) => name);
  const rows = SITUATIONS.map(({ code }) => {
    const title = isRefusalCode(code) ? `\`${code}\`` : code;
    const cells = names.map((name) => cellOf(met.get(code)?.find(({ sdk }) => sdk === name)));
    return `| ${[title, ...cells].join(' | ')} |`;
  });
  const head = [`| | ${names.join(' | ')} |`, `| --- |${' --- |'.repeat(names.length)}`];
  return ['', ...head, ...rows, '', ''].join('\n');
}

function cellOf(outcome: Met | undefined): string {
  if (outcome === undefined) return '–';
  const { exception, status, attempts } = outcome;
  return exception === undefined ? `returns × ${attempts}` : `\`${exception}\` ${status} × ${attempts}`;
}
