/** A ledger that takes nothing is told in the log, with the reason: the callers hear `store_unavailable` only. */
import { ledgerWarning } from '../proxy/ledgerWarning';
import { StoreError } from '../proxy/stores/store';
import { startSandbox } from '../src/sandbox';
import { logged } from './support/logged';
import { startTestProxy } from './support/proxy';
import { callerOf, keyBody, until } from './support/rig';

const SECRET = 'sk_test_warning_0123456789';

test('once a minute at most while it lasts, and once when it works again', async () => {
  const { logger, lines } = logged();
  let time = 0;
  let works = false;
  let tried = 0;
  const tryIt = () => {
    tried += 1;
    return works ? Promise.resolve() : Promise.reject(new StoreError('still'));
  };
  const warning = ledgerWarning({ logger, now: () => time, lookMs: 5, tryIt });
  const said = () => lines.map(({ level, reason, msg }) => [level, reason ?? msg.slice(0, 27)]);
  for (const why of ['first', 'second', 'third']) warning.failed(new StoreError(why));
  time = 59_999;
  warning.failed(new StoreError('fourth'));
  expect(said()).toEqual([[40, 'first']]);
  time = 60_000;
  warning.failed(new StoreError('fifth'));
  const before = tried;
  await until('it was tried again', () => tried > before + 1 || undefined);
  expect(said()).toEqual([
    [40, 'first'],
    [40, 'fifth'],
  ]);
  works = true;
  await until('it is told', () => lines.length === 3 || undefined);
  expect(said().at(-1)).toEqual([30, 'the ledger is written again']);
  // A failure after that is news, whenever it comes.
  works = false;
  warning.failed(new StoreError('sixth'));
  expect(said().at(-1)).toEqual([40, 'sixth']);
  works = true;
  await until('it is told again', () => lines.length === 5 || undefined);
  const after = tried;
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(tried).toBe(after);
  warning.close();
});

test('a proxy whose ledger is gone says why it refuses calls', async () => {
  const { logger, lines } = logged();
  const sandbox = await startSandbox({ secretKey: SECRET });
  const proxy = await startTestProxy({ upstream: sandbox.url, secret: SECRET, logger });
  const caller = callerOf(proxy.url);
  const key = await proxy.client.issueKey(keyBody({ usd_cap: 100 }));
  expect((await caller.call(key.vault_key, { key: 'before' })).status).toBe(200);
  expect(lines.filter(({ level }) => level >= 40)).toEqual([]);
  const find = await proxy.loseLedger();
  const refused = await until('calls are refused', async () => {
    const answer = await caller.call(key.vault_key, { key: `gone:${Math.random()}` });
    return answer.status === 503 ? answer : undefined;
  });
  expect(refused.json.error.code).toBe('store_unavailable');
  const warnings = lines.filter(({ msg }) => msg.startsWith('the ledger takes nothing'));
  expect(warnings).toEqual([expect.objectContaining({ level: 40, reason: expect.stringMatching(/moved|Postgres/) })]);
  await find();
  await caller.close();
  await proxy.close();
  await sandbox.stop();
});
