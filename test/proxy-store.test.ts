/** Fail closed: while the ledger cannot be written no call goes out, and what was sent before is not forgotten. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KeybrakeClient } from '../proxy/client';
import { type Sandbox, startSandbox } from '../src/sandbox';
import { type Running, start } from './support/cli';
import { type Answer, balanced, books, callerOf, keyBody, parallel, tally, until } from './support/rig';

const SECRET = 'sk_test_full_disk_0123456789';
const ADMIN = 'kb_admin_0123456789abcdef';

/** A limit on the size of files stands in for a full disk. Only Linux can set one on a process that runs. */
const describeOnLinux = spawnSync('prlimit', ['--version']).status === 0 ? describe : describe.skip;

let sandbox: Sandbox;
let folder: string;
let proxy: Running;
beforeEach(async () => {
  sandbox = await startSandbox({ secretKey: SECRET, delayMs: 60 });
  folder = mkdtempSync(join(tmpdir(), 'keybrake-store-'));
  proxy = start(['proxy', '--port', '0', '--store', `sqlite:${join(folder, 'ledger.db')}`], {
    cwd: folder,
    env: { KEYBRAKE_API_KEY: ADMIN, STRIPE_SECRET_KEY: SECRET, KEYBRAKE_STRIPE_UPSTREAM: sandbox.url },
  });
});
afterEach(async () => {
  proxy.child.kill('SIGKILL');
  await proxy.ended;
  await sandbox.stop();
  rmSync(folder, { recursive: true });
});

function limitFiles(bytes: number | 'unlimited'): void {
  execFileSync('prlimit', ['--pid', String(proxy.child.pid), `--fsize=${bytes}:unlimited`]);
}

describeOnLinux('a ledger that cannot be written', () => {
  test('503 store_unavailable and nothing is sent; calls in flight settle once it can be', async () => {
    const [, url = ''] = await proxy.said(/proxy on (http:\S+)/);
    const client = new KeybrakeClient({ url, apiKey: ADMIN });
    const caller = callerOf(url);
    const key = await client.issueKey(keyBody({ usd_cap: 100 }));
    expect((await caller.call(key.vault_key, { key: 'before' })).status).toBe(200);

    // Ten calls are at the vendor when the disk fills up.
    sandbox.setFaults({ delayMs: 400 });
    let answered = 0;
    const inFlight = parallel(10, 10, async (index) => {
      const answer = await caller.call(key.vault_key, { key: `flight:${index}` });
      answered += 1;
      return answer;
    });
    await until('ten calls are at the vendor', () => sandbox.requests().length === 11 || undefined);
    // The log of the ledger has room that was made before: also that cannot be written then.
    limitFiles(1_024);

    const refused: Answer[] = await parallel(20, 5, (index) => caller.call(key.vault_key, { key: `full:${index}` }));
    expect(tally(refused)).toEqual({ '503 store_unavailable': 20 });
    for (const { headers, json } of refused) {
      expect(headers).toMatchObject({ 'stripe-should-retry': 'true', 'request-id': expect.stringMatching(/./) });
      expect(json.error.message).toContain('store_unavailable');
    }
    expect(sandbox.requests()).toHaveLength(11);

    await until('the vendor has executed all', () => sandbox.stats().stripe.executedCharges === 11 || undefined);
    // They are executed and not yet settled durably, so nobody is told; later calls are answered meanwhile.
    await parallel(5, 1, (index) => caller.call(key.vault_key, { key: `full:${index}` }));
    expect({ answeredBeforeSettled: answered }).toEqual({ answeredBeforeSettled: 0 });
    limitFiles('unlimited');
    expect(tally(await inFlight)).toEqual({ '200': 10 });
    await until('calls are taken again', async () => {
      const { status } = await caller.call(key.vault_key, { key: 'full:0' });
      return status === 200 || undefined;
    });
    // The log says why, once for all of them, and that it is over.
    await proxy.said(/the ledger is written again/);
    expect(await books({ client, sandbox }, key.key_id)).toEqual(balanced(12, 60));
    await caller.close();
    await client.close();
    proxy.child.kill('SIGTERM');
    const lines = (await proxy.ended).stderr.split('\n').filter((line) => line.includes('the ledger takes nothing'));
    expect(lines).toEqual([
      expect.stringMatching(/"level":"?(40|warn)"?.*"reason":"The ledger's log cannot be written: EFBIG"/),
    ]);
  });

  test('SIGTERM ends the proxy all the same, and the next one finds what was not settled', async () => {
    const [, url = ''] = await proxy.said(/proxy on (http:\S+)/);
    const client = new KeybrakeClient({ url, apiKey: ADMIN });
    const caller = callerOf(url);
    const key = await client.issueKey(keyBody({ usd_cap: 100 }));
    // Outcomes that free money, that keep it held, and that spend it.
    sandbox.setFaults({ delayMs: 400, dropBefore: 1 });
    const dropped = parallel(4, 4, (index) =>
      caller.call(key.vault_key, { key: `dropped:${index}` }).catch(() => undefined),
    );
    await until('they are at the vendor', () => sandbox.requests().length === 4 || undefined);
    sandbox.setFaults({ delayMs: 400 });
    const paid = parallel(4, 4, (index) => caller.call(key.vault_key, { key: `paid:${index}` }).catch(() => undefined));
    await until('they are at the vendor', () => sandbox.requests().length === 8 || undefined);
    limitFiles(1_024);
    await until(
      'the vendor has executed what it does',
      () => sandbox.stats().stripe.executedCharges === 4 || undefined,
    );
    proxy.child.kill('SIGTERM');
    const { stderr } = await proxy.ended;
    expect(stderr).toContain('the proxy has drained and stopped');
    await Promise.all([dropped, paid]);
    await caller.close();
    await client.close();
  }, 90_000);
});
