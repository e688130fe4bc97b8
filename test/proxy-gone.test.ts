/** Clients that go away: what they asked for is dropped, or finished and settled, and nothing of them stays behind. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startTestProxy, type StoredProxy } from './support/proxy';
import { FIVE_DOLLARS, keyBody, until } from './support/rig';
import { intent } from './support/vendorStub';
import { chosenStoreOptions, MASTER_KEY } from './support/store';

/** Nothing listens there. */
const NOWHERE = 'http://127.0.0.1:9';

let folder: string;
let start: (upstream: string) => Promise<StoredProxy>;
let proxy: StoredProxy;
let stopped: Promise<void> | undefined;
const stop = () => (stopped ??= proxy.close());
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'keybrake-gone-'));
  const own = { store: `sqlite:${join(folder, 'ledger.db')}`, masterKeys: [MASTER_KEY] };
  const options = { ...own, ...(await chosenStoreOptions()) };
  start = async (upstream) => {
    proxy = await startTestProxy({ ...options, upstream });
    stopped = undefined;
    return proxy;
  };
});
afterEach(async () => {
  await stop();
  rmSync(folder, { recursive: true });
});

/** Requests on one connection, one behind the other; answers how to go away. */
async function pipelined(...requests: readonly string[]): Promise<() => Promise<void>> {
  const socket = connect(proxy.port, '127.0.0.1').on('error', () => undefined);
  await once(socket, 'connect');
  socket.write(requests.join(''));
  return async () => {
    socket.destroy();
    await once(socket, 'close');
  };
}

function charge(vaultKey: string, key: string): string {
  return [
    'POST /stripe/v1/payment_intents HTTP/1.1',
    'Host: proxy',
    `Authorization: Bearer ${vaultKey}`,
    'Content-Type: application/x-www-form-urlencoded',
    `Idempotency-Key: ${key}`,
    `Content-Length: ${FIVE_DOLLARS.length}`,
    '',
    FIVE_DOLLARS,
  ].join('\r\n');
}

/** A vendor that answers when it is told to, by `held`; the proxy is started on it. */
async function heldVendor(held: (() => void)[], body: (key: string) => object, status: number): Promise<Server> {
  const vendor = createServer((request, response) => {
    const text = JSON.stringify(body(String(request.headers['idempotency-key'])));
    const answer = () => response.writeHead(status, { 'content-type': 'application/json' }).end(text);
    request.resume().on('end', () => void held.push(answer));
  });
  vendor.listen(0, '127.0.0.1');
  await once(vendor, 'listening');
  await start(`http://127.0.0.1:${(vendor.address() as AddressInfo).port}`);
  return vendor;
}

test('calls whose clients went away settle before a proxy that stops has closed its ledger', async () => {
  const held: (() => void)[] = [];
  // So long that it takes a while to write.
  const vendor = await heldVendor(held, (key) => intent(500, key, { padding: 'x'.repeat(200_000) }), 200);
  const key = await proxy.client.issueKey(keyBody({ usd_cap: 100 }));
  const leave = await Promise.all(['one', 'two', 'three'].map((name) => pipelined(charge(key.vault_key, name))));
  await until('all are at the vendor', () => held.length === 3 || undefined);
  await Promise.all(leave.map((go) => go()));
  const closed = stop();
  const refuses = () =>
    fetch(`${proxy.url}/healthz`).then(
      () => undefined,
      () => true,
    );
  await until('nobody is let in any more', refuses);
  for (const answer of held) answer();
  await closed;
  vendor.close();

  const { client } = await start(NOWHERE);
  expect((await client.getKey(key.key_id)).spend).toMatchObject({ settled_usd: 15, held_usd: 0, unknown_usd: 0 });
});

test('of calls that stand behind one another on a connection, those not reserved when it ends are dropped too', async () => {
  const held: (() => void)[] = [];
  const vendor = await heldVendor(held, () => ({ error: { type: 'invalid_request_error', message: 'no' } }), 400);
  const key = await proxy.client.issueKey(keyBody({ usd_cap: 5 }));
  const leave = await pipelined(charge(key.vault_key, 'one'), charge(key.vault_key, 'two'));
  await until('one is at the vendor', () => held.length === 1 || undefined);
  await leave();
  held[0]!();
  await until('it has ended', async () => (await proxy.client.getKey(key.key_id)).spend.held_usd === 0 || undefined);
  await stop();
  vendor.closeAllConnections();
  vendor.close();
  expect(held).toHaveLength(1);
});
