/** Signals and readers that go: what ends with a command, what goes on, and what its exit code says. */
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { keybrake, start } from './support/cli';
import { useCliStack } from './support/cliStack';
import { eventually } from './support/temporal';

const ENDPOINT = 'POST /v1/payment_intents';

const at = useCliStack();

function cli(...args: string[]) {
  return keybrake(args, { env: at.env, cwd: at.folder });
}

/** Starts a run over so many customers, and waits until one is charged. */
async function startRun(name: string, count: number) {
  const lines = Array.from({ length: count }, (_, i) => JSON.stringify({ id: `cus_${name}_${i}` }));
  writeFileSync(join(at.folder, `${name}.jsonl`), lines.join('\n'));
  const flags = ['--source', `${name}.jsonl`, '--endpoint', ENDPOINT, '--cap', '500', '--job-id', name];
  const params = ['amount=250', 'currency=usd', 'customer={{id}}', 'confirm=true'].flatMap((pair) => ['--param', pair]);
  const running = start(['run', ...flags, ...params, '--concurrency', '1'], { env: at.env, cwd: at.folder });
  const charges = () =>
    at.stack.sandbox!.charges().filter(({ customer }) => customer?.startsWith(`cus_${name}_`)).length;
  await eventually(() => charges() > 0);
  return { running, charges };
}

describe('run', () => {
  test.each([
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)(
    '%s leaves with %d and says how to look at the run and how to end it; it goes on',
    async (signal, code) => {
      at.stack.sandbox!.setFaults({ delayMs: 150 });
      const name = signal.toLowerCase();
      const { running, charges } = await startRun(name, 12);
      running.child.kill(signal);
      const ended = await running.ended;
      const id = `keybrake-${name}`;
      expect(ended.stderr).toBe(
        `${signal}: left. The run goes on: keybrake status ${id}; to end it: keybrake revoke ${id}\n`,
      );
      expect(ended.code).toBe(code);
      expect(charges()).toBeLessThan(12);
      at.stack.sandbox!.setFaults({});
      await eventually(async () => (await cli('status', id)).stdout.includes('12 succeeded'));
    },
  );

  test('SIGTERM after Ctrl-C leaves with 143, and the run ends by itself', async () => {
    at.stack.sandbox!.setFaults({ delayMs: 1_500 });
    const { running } = await startRun('both', 12);
    running.child.kill('SIGINT');
    await running.said(/Cancelling: no new calls/);
    running.child.kill('SIGTERM');
    const { code, stderr } = await running.ended;
    expect([code, stderr]).toEqual([
      143,
      expect.stringMatching(/Left\. The run ends by itself: keybrake status \S+$/m),
    ]);
    at.stack.sandbox!.setFaults({});
    await eventually(async () => (await cli('status', 'keybrake-both')).stdout.includes('cancelled'));
  });
});

test('raise: where no worker takes it, that is said after a while, and Ctrl-C leaves', async () => {
  writeFileSync(join(at.folder, 'idle.jsonl'), '{"id":"cus_idle"}');
  const flags = ['--source', 'idle.jsonl', '--endpoint', ENDPOINT, '--cap', '5', '--param', 'amount=250'];
  await cli('run', ...flags, '--job-id', 'idle', '--detach', '--task-queue', 'of-no-worker');
  const running = start(['raise', 'keybrake-idle', '--to', '9'], { env: at.env });
  await running.said(/No answer yet\. A worker must be up to take it: keybrake doctor/);
  running.child.kill('SIGINT');
  const { code, stderr } = await running.ended;
  expect([code, stderr]).toEqual([
    130,
    expect.stringMatching(/^Left without an answer.*keybrake status keybrake-idle$/m),
  ]);
});

describe('proxy', () => {
  /** A proxy with a call in flight for so long. */
  async function busyProxy(delayMs: number) {
    const sandbox = start(['sandbox', '--port', '0', '--delay', String(delayMs)]);
    const [, upstream = ''] = await sandbox.said(/stand-in on (http:\S+)/);
    const keys = { KEYBRAKE_API_KEY: at.stack.apiKey, STRIPE_SECRET_KEY: 'sk_test_51ABCDEFGHIJKLMNOP' };
    const proxy = start(['proxy', '--port', '0'], {
      env: { ...keys, KEYBRAKE_STRIPE_UPSTREAM: upstream },
      cwd: mkdtempSync(join(at.folder, 'proxy-')),
    });
    const [, url = ''] = await proxy.said(/proxy on (http:\S+)/);
    const issue = ['keys', 'issue', '--label', 'x', '--cap', '5', '--ttl', '1h', '--allow', ENDPOINT];
    const issued = await keybrake(issue, { env: { KEYBRAKE_URL: url, KEYBRAKE_API_KEY: at.stack.apiKey } });
    const reply = fetch(`${url}/stripe/v1/payment_intents`, {
      method: 'POST',
      headers: { authorization: `Bearer ${issued.stdout.trim()}` },
      body: new URLSearchParams({ amount: '500', currency: 'usd', payment_method: 'pm_card_visa', confirm: 'true' }),
    }).then(
      ({ status }) => status,
      () => 'cut off',
    );
    const asked = { headers: { authorization: `Bearer ${at.stack.apiKey}` } };
    const held = async () => (await (await fetch(`${url}/vault/calls?state=held`, asked)).text()).includes('call_');
    await eventually(held);
    return { sandbox, proxy, reply };
  }

  test('SIGHUP drains as SIGTERM does: the call in flight settles', async () => {
    const { sandbox, proxy, reply } = await busyProxy(1_000);
    proxy.child.kill('SIGHUP');
    expect(await reply).toBe(200);
    expect((await proxy.ended).code).toBe(0);
    sandbox.child.kill('SIGHUP');
    expect((await sandbox.ended).code).toBe(0);
  });

  test('a second SIGTERM forces it, with the exit code of that signal', async () => {
    const { sandbox, proxy, reply } = await busyProxy(20_000);
    proxy.child.kill('SIGTERM');
    await proxy.said(/SIGTERM: no new calls/);
    proxy.child.kill('SIGTERM');
    expect((await proxy.ended).code).toBe(143);
    expect(await reply).toBe('cut off');
    sandbox.child.kill('SIGKILL');
  });
});

describe('a reader that goes', () => {
  test('audit --reconcile: nobody is told "equal" (0) before that is known', async () => {
    await (
      await startRun('piped', 2)
    ).running.ended;
    // All that the proxy says but the last line, which would be the end.
    const front = createServer((request, response) => {
      void (async () => {
        const reply = await fetch(at.stack.proxy.url + request.url, {
          headers: request.headers as Record<string, string>,
        });
        const text = await reply.text();
        response.writeHead(reply.status, { 'content-type': reply.headers.get('content-type') ?? '' });
        if (request.url?.startsWith('/vault/drift') === true) response.write(text.replace(/^.*"type":"end".*\n/m, ''));
        else response.end(text);
      })();
    });
    front.listen(0, '127.0.0.1');
    await once(front, 'listening');
    const url = `http://127.0.0.1:${(front.address() as AddressInfo).port}`;
    const audit = ['audit', '--reconcile', '--job', 'piped'];
    expect((await cli(...audit)).code).toBe(0);
    const running = start([...audit, '--json'], { env: { ...at.env, KEYBRAKE_URL: url } });
    running.child.stdout!.destroy();
    expect((await running.ended).code).toBe(2);
    front.closeAllConnections();
    front.close();
  });

  test('doctor: a check that fails is told by the exit code also then', async () => {
    const running = start(['doctor'], { env: {} });
    running.child.stdout!.destroy();
    expect((await running.ended).code).toBe(1);
  });
});
