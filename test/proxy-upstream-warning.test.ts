/** A vendor that does not answer is told in the log, with the reason: at night nobody sees what callers are answered. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { upstreamWarning } from '../proxy/upstreamWarning';
import { logged } from './support/logged';
import { startTestProxy } from './support/proxy';
import { callerOf, keyBody, until } from './support/rig';

const SECRET = 'sk_test_upstream_0123456789';

test('once a minute at most for an account, with the number of calls that it happened to', () => {
  const { logger, lines } = logged();
  let time = 0;
  const warn = upstreamWarning(logger, () => time);
  warn('stripe', { kind: 'unsent', reason: 'first' });
  for (const reason of ['second', 'third']) warn('stripe', { kind: 'unsent', reason });
  warn('other', { kind: 'lost', reason: 'of another account' });
  time = 59_999;
  warn('stripe', { kind: 'lost', reason: 'fourth' });
  time = 60_000;
  warn('stripe', { kind: 'unsent', reason: 'fifth' });
  expect(lines).toMatchObject([
    { level: 40, account: 'stripe', reason: 'first', unsent: 1, lost: 0 },
    { level: 40, account: 'other', reason: 'of another account', unsent: 0, lost: 1 },
    { level: 40, account: 'stripe', reason: 'fifth', unsent: 3, lost: 1 },
  ]);
});

test('a proxy says that a vendor is not there, or drops its calls, and nothing while it answers', async () => {
  const { logger, lines } = logged();
  let answers = true;
  const vendor = createServer((request, response) => {
    if (answers) response.writeHead(400).end('{"error":{"type":"invalid_request_error"}}');
    else request.socket.destroy();
  });
  const upstream = await listening(vendor);
  const absent = { vendor: 'stripe' as const, secret: SECRET, upstream: 'http://127.0.0.1:1' };
  const proxy = await startTestProxy({
    accounts: { stripe: { ...absent, upstream }, absent },
    secret: SECRET,
    upstream,
    logger,
  });
  const caller = callerOf(proxy.url);
  const call = async (account: string) => {
    const key = await proxy.client.issueKey(keyBody({ usd_cap: 100, account }));
    return (await caller.call(key.vault_key, { key: `upstream:${Math.random()}` })).status;
  };
  const warned = () => lines.filter(({ level }) => level >= 40);
  expect([await call('stripe'), warned()]).toEqual([400, []]);
  answers = false;
  expect([await call('stripe'), await call('absent'), await call('absent')]).toEqual([504, 503, 503]);
  expect(warned()).toMatchObject([
    { account: 'stripe', reason: 'UND_ERR_SOCKET', unsent: 0, lost: 1 },
    { account: 'absent', reason: 'ECONNREFUSED', unsent: 1, lost: 0 },
  ]);
  await caller.close();
  await proxy.close();
  vendor.close();
});

test('a call that its revoked key stops on its way is no fault of the vendor: nothing is said', async () => {
  const { logger, lines } = logged();
  // Every call opens a connection of its own: in that time it is held and not sent yet.
  const vendor = createServer((_, response) => {
    response.writeHead(400, { connection: 'close' }).end('{"error":{"type":"invalid_request_error"}}');
  });
  const upstream = await listening(vendor);
  const proxy = await startTestProxy({ upstream, secret: SECRET, logger });
  const caller = callerOf(proxy.url);
  let round = 0;
  await until('a call is stopped between its hold and its first byte', async () => {
    round += 1;
    const key = await proxy.client.issueKey(keyBody({ usd_cap: 1_000 }));
    const calls = Array.from({ length: 8 }, (_, index) => caller.call(key.vault_key, { key: `${round}:${index}` }));
    await new Promise((resolve) => setTimeout(resolve, round % 8));
    await Promise.all([...calls, proxy.client.revokeKey(key.key_id, 'stop')]);
    const { items } = await proxy.client.listCalls({ key_id: key.key_id, state: 'released' });
    return items.some(({ code }) => code === 'upstream_unreachable') || undefined;
  });
  expect(lines.filter(({ level }) => level >= 40)).toEqual([]);
  await caller.close();
  await proxy.close();
  vendor.close();
});

async function listening(vendor: Server): Promise<string> {
  await new Promise<void>((resolve) => vendor.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(vendor.address() as AddressInfo).port}`;
}
