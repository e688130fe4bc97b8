/** Status callbacks: signed forms, posted to loopback and nowhere else. */
import { createHmac } from 'node:crypto';

/** A callback and what came of it. */
export interface Callback {
  readonly status: string;
  readonly url: string;
  /** The status answered; null when there was no answer, or when the address is not on loopback. */
  readonly answered: number | null;
}

const LOOPBACK: ReadonlySet<string> = new Set(['127.0.0.1', '[::1]', 'localhost']);
const TIMEOUT_MS = 5_000;

/** Posts callbacks until it is closed. */
export class Callbacks {
  readonly #closing = new AbortController();

  /** Posts one; never throws. */
  async post(url: string, status: string, fields: Readonly<Record<string, string>>, token: string): Promise<Callback> {
    if (!isLoopback(url)) return { status, url, answered: null };
    try {
      const answer = await fetch(url, {
        method: 'POST',
        headers: {
          'content-type': 'application/x-www-form-urlencoded',
          'user-agent': 'TwilioProxy/1.1',
          'x-twilio-signature': signatureOf(url, fields, token),
        },
        body: new URLSearchParams(fields).toString(),
        redirect: 'manual',
        signal: AbortSignal.any([this.#closing.signal, AbortSignal.timeout(TIMEOUT_MS)]),
      });
      await answer.arrayBuffer();
      return { status, url, answered: answer.status };
    } catch {
      return { status, url, answered: null };
    }
  }

  /** Ends those under way; later ones are not posted. */
  close(): void {
    this.#closing.abort();
  }
}

/** https://www.twilio.com/docs/usage/security : the address, then every field's name and value in order of name. */
export function signatureOf(url: string, fields: Readonly<Record<string, string>>, token: string): string {
  const names = Object.keys(fields).toSorted((a, b) => (a < b ? -1 : 1));
  const text = names.reduce((signed, name) => signed + name + fields[name], url);
  return createHmac('sha1', token).update(text).digest('base64');
}

function isLoopback(url: string): boolean {
  return URL.canParse(url) && LOOPBACK.has(new URL(url).hostname);
}
