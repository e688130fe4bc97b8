import { type Server, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
// oxlint-disable-next-line import/no-named-as-default
import twilio, { type RestException } from 'twilio';
import { request } from 'undici';
import { type Sandbox, startSandbox } from '../src/sandbox';
import { type Raw, START_MS } from './sandbox-fixture';

export const ACCOUNT = `AC${'0a'.repeat(16)}`;
export const TOKEN = 'twilio_token_0123456789';
export const API_KEY = { sid: `SK${'0b'.repeat(16)}`, secret: 'twilio_secret_0123456789' };
export const MESSAGES = `/2010-04-01/Accounts/${ACCOUNT}/Messages`;
export const SERVICE = `MG${'0c'.repeat(16)}`;
export const FROM = '+15005550006';
export const TO = '+14155550100';

/** A status callback, as its receiver got it. */
export interface Received {
  readonly signature: string;
  readonly fields: Readonly<Record<string, string>>;
}

/** A sandbox, a clock that the test sets, the official SDK, plain HTTP, and a receiver of status callbacks. */
export interface TwilioFixture {
  readonly sandbox: Sandbox;
  readonly client: twilio.Twilio;
  readonly clock: { nowMs: number };
  readonly received: Received[];
  readonly callbackUrl: string;
  call(method: 'GET' | 'POST', path: string, form?: string, user?: string, password?: string): Promise<Raw>;
  close(): Promise<void>;
}

/** Starts a sandbox with its callers. */
export async function startTwilio(lateMs?: number): Promise<TwilioFixture> {
  const clock = { nowMs: START_MS };
  const sandbox = await startSandbox({
    twilio: { accountSid: ACCOUNT, authToken: TOKEN, apiKey: API_KEY, ...(lateMs !== undefined && { lateMs }) },
    now: () => clock.nowMs,
  });
  const received: Received[] = [];
  const receiver = await startReceiver(received);
  return {
    sandbox,
    clock,
    received,
    client: clientOf(sandbox, TOKEN),
    callbackUrl: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/status?run=a%20b`,
    call: async (method, path, form, user = ACCOUNT, password = TOKEN) => {
      const answer = await request(`${sandbox.url}${path}`, {
        method,
        headers: {
          authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`,
          ...(form !== undefined && { 'content-type': 'application/x-www-form-urlencoded' }),
        },
        ...(form !== undefined && { body: form }),
      });
      const text = await answer.body.text();
      const isJson = answer.headers['content-type'] === 'application/json';
      return { status: answer.statusCode, headers: answer.headers, json: isJson ? JSON.parse(text) : text };
    },
    close: async () => {
      receiver.close();
      await sandbox.stop();
    },
  };
}

/** The official SDK, pointed at a sandbox. */
export function clientOf(sandbox: Sandbox, token: string, username = ACCOUNT): twilio.Twilio {
  const client = twilio(username, token, { accountSid: ACCOUNT });
  for (const domain of [client.api, client.verify, client.lookups]) domain.baseUrl = sandbox.url;
  return client;
}

/** The error that the SDK raises; fails when it raises none. */
export function errorOf(promise: Promise<unknown>): Promise<RestException> {
  return promise.then(
    () => {
      throw new Error('expected a refusal');
    },
    (error: RestException) => error,
  );
}

async function startReceiver(received: Received[]): Promise<Server> {
  const server = createServer((req, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (chunk: Buffer) => chunks.push(chunk));
    req.on('end', () => {
      const fields = Object.fromEntries(new URLSearchParams(Buffer.concat(chunks).toString()));
      received.push({ signature: String(req.headers['x-twilio-signature']), fields });
      res.writeHead(204).end();
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return server;
}
