/** Requests that nobody vouches for: they are refused by their head, and cost neither memory nor a connection. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { FIVE_DOLLARS, type Rig, startRig, until } from './support/rig';

const FORGED = 'vk_00000000000000000000000000_0000000000000000000000000000000000000000';
const basic = (user: string, password: string) => `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
const STRIPE = '/stripe/v1/payment_intents';
const TWILIO = `/twilio/2010-04-01/Accounts/AC${'0'.repeat(32)}/Messages.json`;
const RESEND = '/resend/emails';
const DECLARED = 1_048_576;

let rig: Rig;
beforeAll(async () => void (rig = await startRig({ sandbox: {} })));
afterAll(() => rig.close());

interface Connection {
  readonly socket: Socket;
  /** All that has come. */
  readonly heard: () => string;
}

async function connected(): Promise<Connection> {
  const socket = connect(rig.proxy.port, '127.0.0.1');
  let text = '';
  socket.on('data', (chunk) => (text += String(chunk)));
  await once(socket, 'connect');
  return { socket, heard: () => text };
}

function head(path: string, authorization: string | undefined, length: number): string {
  const lines = [`POST ${path} HTTP/1.1`, 'Host: proxy', 'Content-Type: application/x-www-form-urlencoded'];
  if (authorization !== undefined) lines.push(`Authorization: ${authorization}`);
  return [...lines, `Content-Length: ${length}`, '', ''].join('\r\n');
}

/** Without what differs from answer to answer and from connection to connection. */
function told(answer: string) {
  const [top = '', body = ''] = answer.split('\r\n\r\n');
  const [status, ...headers] = top.split('\r\n');
  const kept = headers.filter((line) => !/^(connection|keep-alive|date|request-id|keybrake-request-id):/i.test(line));
  return { status, headers: kept.toSorted(), body };
}

async function refusals(): Promise<number> {
  const text = await (await fetch(`${rig.proxy.url}/metrics`)).text();
  return Number(/^keybrake_refusals_total\{code="key_invalid"\} (\d+)$/m.exec(text)?.[1]);
}

const whole = (answer: string) => {
  const length = /^content-length: (\d+)\r$/im.exec(answer)?.[1];
  return (length !== undefined && (answer.split('\r\n\r\n')[1] ?? '').length >= Number(length)) || undefined;
};

describe('a body without a genuine vault key is not waited for: the refusal is the one that a whole request gets', () => {
  test.each<[string, string, string | undefined]>([
    ['Stripe, no key', STRIPE, undefined],
    ['Stripe, a forged key', STRIPE, `Bearer ${FORGED}`],
    ['Stripe, a forged key as user name', STRIPE, basic(FORGED, '')],
    ['Stripe, another scheme', STRIPE, `Token ${FORGED}`],
    ['Twilio, no key', TWILIO, undefined],
    ['Twilio, a forged key', TWILIO, basic(`AC${'0'.repeat(32)}`, FORGED)],
    ['Resend, a forged key', RESEND, `Bearer ${FORGED}`],
    ['no vendor at all', '/nowhere', undefined],
  ])('%s', async (_name, path, authorization) => {
    const before = await refusals();
    const complete = await connected();
    complete.socket.write(head(path, authorization, FIVE_DOLLARS.length) + FIVE_DOLLARS);
    await until('a whole request is answered', () => whole(complete.heard()));
    expect(complete.heard()).toMatch(/^HTTP\/1\.1 401 /);
    expect(complete.heard()).not.toMatch(/^connection: close\r$/im);
    complete.socket.destroy();

    const { socket, heard } = await connected();
    socket.write(head(path, authorization, DECLARED) + 'a'.repeat(100));
    await once(socket, 'end');
    expect(told(heard())).toEqual(told(complete.heard()));
    expect(heard()).toMatch(/^connection: close\r$/im);
    expect(await refusals()).toBe(before + 2);
  });
});

test('a client that still sends when it is refused reads the whole refusal, and no reset', async () => {
  const { socket, heard } = await connected();
  socket.write(head(STRIPE, `Bearer ${FORGED}`, DECLARED));
  await until('it is refused', () => whole(heard()));
  const cut = once(socket, 'close').then(([hadError]) => hadError as boolean);
  for (let sent = 0; sent < DECLARED; sent += DECLARED / 16) socket.write('a'.repeat(DECLARED / 16));
  expect(await cut).toBe(false);
  expect(heard().match(/HTTP\/1\.1/g)).toHaveLength(1);
});

test('bodies that never end, of clients without a key, do not keep the proxy from stopping', async () => {
  const other = await startRig({ sandbox: {} });
  const sockets = await Promise.all(
    Array.from({ length: 20 }, async () => {
      const socket = connect(other.proxy.port, '127.0.0.1').on('error', () => undefined);
      await once(socket, 'connect');
      socket.write(head(STRIPE, undefined, DECLARED));
      await once(socket, 'data');
      return socket;
    }),
  );
  const ended = Promise.all(sockets.map(async (socket) => socket.closed || once(socket, 'close')));
  await other.close();
  expect(await ended).toHaveLength(20);
});

test('the body of a genuine key is waited for, at its first call and at the next', async () => {
  const { vault_key: vaultKey } = await rig.issue({ usd_cap: 100 });
  for (const _ of ['not seen before', 'seen before']) {
    const { socket, heard } = await connected();
    socket.write(head(STRIPE, `Bearer ${vaultKey}`, FIVE_DOLLARS.length));
    // The proxy has read the head when it has answered what came later.
    await refusals();
    expect(heard()).toBe('');
    socket.write(FIVE_DOLLARS);
    await until('it is answered', () => whole(heard()));
    expect(heard()).toMatch(/^HTTP\/1\.1 200 /);
    socket.destroy();
  }
});
