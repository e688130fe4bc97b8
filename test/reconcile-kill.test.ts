/** The proxy is killed with calls in flight and nobody repeats them: the next process finds out what they came to. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KeybrakeClient } from '../proxy/client';
import { type Sandbox, startSandbox } from '../src/sandbox';
import { scanFile } from '../src/testing';
import { ACCOUNT, FROM, TOKEN } from './sandbox-twilio-fixture';
import { type Running, start } from './support/cli';
import { callerOf, parallel, until } from './support/rig';

const SECRET = 'sk_test_killed_0123456789';
const RESEND_KEY = 're_team_0123456789';
const ADMIN = 'kb_admin_0123456789abcdef';
/** Of each vendor, at the vendor when the proxy is killed. */
const CALLS = 20;

let sandbox: Sandbox;
let folder: string;
beforeEach(async () => {
  sandbox = await startSandbox({
    secretKey: SECRET,
    twilio: { accountSid: ACCOUNT, authToken: TOKEN },
    resend: { apiKey: RESEND_KEY },
  });
  folder = mkdtempSync(join(tmpdir(), 'keybrake-reconcile-kill-'));
});
afterEach(async () => {
  await sandbox.stop();
  rmSync(folder, { recursive: true });
});

function launch(): Running {
  return start(['proxy', '--port', '0', '--store', `sqlite:${join(folder, 'ledger.db')}`], {
    cwd: folder,
    env: {
      KEYBRAKE_API_KEY: ADMIN,
      STRIPE_SECRET_KEY: SECRET,
      KEYBRAKE_STRIPE_UPSTREAM: sandbox.url,
      TWILIO_ACCOUNT_SID: ACCOUNT,
      TWILIO_AUTH_TOKEN: TOKEN,
      KEYBRAKE_TWILIO_UPSTREAM: sandbox.url,
      RESEND_API_KEY: RESEND_KEY,
      KEYBRAKE_RESEND_UPSTREAM: sandbox.url,
      KEYBRAKE_LOG_LEVEL: 'warn',
    },
  });
}

async function urlOf(proxy: Running): Promise<string> {
  return (await proxy.said(/proxy on (http:\S+)/))[1] ?? '';
}

interface Asked {
  readonly path?: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const VENDORS: readonly { vendor: string; endpoint: string; call: (index: number) => Asked }[] = [
  {
    vendor: 'stripe',
    endpoint: 'POST /v1/payment_intents',
    call: (index: number) => ({ body: `amount=500&currency=usd&confirm=true&customer=cus_${index}` }),
  },
  {
    vendor: 'twilio',
    endpoint: 'POST /2010-04-01/Accounts/:AccountSid/Messages.json',
    call: (index: number) => ({
      path: `/twilio/2010-04-01/Accounts/${ACCOUNT}/Messages.json`,
      body: new URLSearchParams({ To: `+1415555${2_000 + index}`, From: FROM, Body: 'one of many' }).toString(),
    }),
  },
  {
    vendor: 'resend',
    endpoint: 'POST /emails',
    call: (index: number) => ({
      path: '/resend/emails',
      body: JSON.stringify({ from: 'a@b.test', to: [`c${index}@d.test`], subject: 's', text: 'personal words' }),
      headers: { 'content-type': 'application/json' },
    }),
  },
];

test('killed with calls to each vendor in flight, and never repeated: all are settled within seconds, as the vendors count them', async () => {
  const first = launch();
  const url = await urlOf(first);
  const client = new KeybrakeClient({ url, apiKey: ADMIN });
  const caller = callerOf(url);
  const keys = await Promise.all(
    VENDORS.map(({ vendor, endpoint }) =>
      client.issueKey({
        vendor,
        usd_cap: 1_000,
        allowed_endpoints: [endpoint],
        expires_in: '1h',
        agent_run_label: 'killed',
      }),
    ),
  );
  sandbox.setFaults({ delayMs: 1_000 });
  const cut = VENDORS.map(({ vendor, call }, which) =>
    parallel(CALLS, CALLS, (index) => {
      const { vault_key: vaultKey } = keys[which]!;
      const headers = vendor === 'twilio' ? { authorization: `Basic ${btoa(`${ACCOUNT}:${vaultKey}`)}` } : {};
      const asked = call(index);
      const given = { ...asked.headers, ...headers };
      return caller
        .call(vendor === 'twilio' ? null : vaultKey, { ...asked, key: `${vendor}:${index}`, headers: given })
        .catch(() => undefined);
    }),
  );
  await until('all are at the vendor', () => sandbox.requests().length === CALLS * VENDORS.length || undefined);
  first.child.kill('SIGKILL');
  await first.ended;
  // What is at the vendor is executed all the same; what comes now is answered at once.
  sandbox.setFaults({});
  expect((await Promise.all(cut)).flat().every((answer) => answer === undefined)).toBe(true);
  await client.close();
  await caller.close();
  for (const file of ['ledger.db', 'ledger.db-wal', 'ledger.db-log.0']) {
    const secrets = [SECRET, TOKEN, RESEND_KEY, 'personal words', 'one of many', ...keys.map((key) => key.vault_key)];
    expect(await scanFile(join(folder, file), { secrets })).toEqual([]);
  }

  // Resend refuses a repeat of what it is still at work on, and then it is not asked again for half a minute.
  await until('the vendors are done', () => {
    const done = sandbox.stats();
    const all = [done.stripe.executedCharges, done.twilio.executedMessages, sandbox.emails().length];
    return all.every((count) => count === CALLS) || undefined;
  });
  const startedAt = Date.now();
  const next = launch();
  const reader = new KeybrakeClient({ url: await urlOf(next), apiKey: ADMIN });
  await until('no call is unknown', async () => {
    const { spend } = await reader.summary('killed');
    return spend.calls.unknown === 0 && spend.calls.settled === CALLS * VENDORS.length ? true : undefined;
  });
  expect(Date.now() - startedAt).toBeLessThan(15_000);

  const { stripe, twilio, resend } = sandbox.stats();
  expect(stripe).toMatchObject({ executedCharges: CALLS, duplicates: { keys: [], customers: [] } });
  expect(twilio).toMatchObject({ executedMessages: CALLS, duplicates: { sends: [] } });
  expect(sandbox.emails()).toHaveLength(CALLS);
  expect(resend.replayed).toBe(CALLS);
  const spends = await Promise.all(keys.map(async ({ key_id: id }) => (await reader.getKey(id)).spend));
  expect(
    spends.map(({ settled_usd: settled, held_usd: held, unknown_usd: unknown }) => [settled, held, unknown]),
  ).toEqual([
    [stripe.chargedUsd, 0, 0],
    [0.02 * CALLS, 0, 0],
    [0.0009 * CALLS, 0, 0],
  ]);
  const ids = await Promise.all(
    keys.map(async ({ key_id: id }) => (await reader.listCalls({ key_id: id, limit: 1_000 })).items),
  );
  expect(new Set(ids.flat().map(({ vendor_id: id }) => id)).size).toBe(CALLS * VENDORS.length);
  expect(new Set(ids.flat().map(({ vendor_id: id }) => id))).toEqual(
    new Set([...sandbox.charges(), ...sandbox.messages(), ...sandbox.emails()].map(({ id }) => id)),
  );
  await reader.close();
  next.child.kill('SIGTERM');
  expect((await next.ended).code).toBe(0);
});
