/** Connections of clients that say nothing: they need no key, and cost nobody a call, a probe or a shutdown. */
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import type { IssuedKey } from '../proxy/contract';
import { startSandbox } from '../src/sandbox';
import { start } from './support/cli';
import { FIVE_DOLLARS, keyBody, startRig } from './support/rig';
import { CERTIFICATE, CERTIFICATE_KEY } from './support/tls';
import { until } from './support/until';

async function silent(port: number, count: number): Promise<Socket[]> {
  const sockets = Array.from({ length: count }, () => connect(port, '127.0.0.1').on('error', () => undefined));
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  return sockets;
}

test.each(['http', 'https'])(
  'silent connections, more than the proxy may open files, cost no call, no probe: %s',
  async (scheme) => {
    const sandbox = await startSandbox();
    const folder = mkdtempSync(join(tmpdir(), 'keybrake-files-'));
    const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
    writeFileSync(cert, CERTIFICATE);
    writeFileSync(key, CERTIFICATE_KEY);
    const env = {
      KEYBRAKE_PORT: '0',
      KEYBRAKE_STORE: `sqlite:${join(folder, 'keybrake.db')}`,
      KEYBRAKE_API_KEY: 'an-api-key-of-this-test-alone-0123456789',
      STRIPE_SECRET_KEY: 'sk_test_0123456789abcdefghijklmn',
      KEYBRAKE_STRIPE_UPSTREAM: sandbox.url,
      ...(scheme === 'https' && { KEYBRAKE_TLS_CERT: cert, KEYBRAKE_TLS_KEY: key }),
    };
    const proxy = start(['proxy'], { env, filesMax: 200 });
    const [url = ''] = await proxy.said(/https?:\/\/127\.0\.0\.1:\d+/);
    expect(new URL(url).protocol).toBe(`${scheme}:`);
    const ask = async (path: string, token: string, body?: string) => {
      const dispatcher = new Agent({ connect: { rejectUnauthorized: false }, pipelining: 0 });
      const method = body === undefined ? 'GET' : 'POST';
      const type = path.startsWith('/vault') ? 'application/json' : 'application/x-www-form-urlencoded';
      const headers = { authorization: `Bearer ${token}`, 'content-type': type };
      try {
        const { statusCode, body: answer } = await request(`${url}${path}`, {
          dispatcher,
          method,
          headers,
          body: body ?? null,
        });
        return { status: statusCode, text: await answer.text() };
      } finally {
        await dispatcher.close();
      }
    };
    const issued = await ask('/vault/keys', env.KEYBRAKE_API_KEY, JSON.stringify(keyBody({ usd_cap: 100 })));
    const { vault_key: vaultKey } = JSON.parse(issued.text) as IssuedKey;
    const sockets = await silent(Number(new URL(url).port), 300);
    try {
      await until('some are cut off', () => sockets.filter(({ closed }) => closed).length >= 200 || undefined);
      for (let turn = 0; turn < 3; turn += 1) {
        expect((await ask('/stripe/v1/payment_intents', vaultKey, FIVE_DOLLARS)).status).toBe(200);
        expect((await ask('/healthz', 'nobody')).status).toBe(200);
      }
      await proxy.said(/all connections are taken/);
    } finally {
      for (const socket of sockets) socket.destroy();
      proxy.child.kill('SIGTERM');
      expect((await proxy.ended).code).toBe(0);
      await sandbox.stop();
    }
  },
);

test('a client that connects for TLS and then says nothing does not keep the proxy from stopping', async () => {
  const rig = await startRig({ proxy: { tls: { cert: CERTIFICATE, key: CERTIFICATE_KEY } } });
  const [socket] = await silent(rig.proxy.port, 1);
  const closed = rig.close().then(() => 'closed');
  const late = new Promise<string>((resolve) => setTimeout(resolve, 15_000, 'still open').unref());
  expect(await Promise.race([closed, late])).toBe('closed');
  socket?.destroy();
}, 40_000);
