/**
 * What vendors post when something becomes of a call. A callback never says what a call costs: it only hastens the look
 * for the price ({@link Poller.hint}), which the proxy reads from the vendor itself.
 */
import { Refusal } from '../contract';
import { readFlat } from '../form';
import type { AccountOptions } from '../options';
import { callbackAddress, type Vendors } from '../vendors';
import type { CallbackPost, FormPairs } from '../vendors/vendor';
import type { Poller } from './poller';

/** Callbacks that are listened to per second: each may cost a commit. Those beyond are left to the poller. */
const PER_SECOND_MAX = 200;

export interface ReceiverParts {
  readonly accounts: Readonly<Record<string, AccountOptions>>;
  readonly vendors: Vendors;
  /** Undefined: no vendor was asked to post, so nothing is listened to. */
  readonly callbackUrl: string | undefined;
  readonly poller: Pick<Poller, 'hint'>;
}

export interface Callback {
  readonly vendor: string;
  /** A form. */
  readonly body: string;
  readonly header: CallbackPost['header'];
}

/** Answers the status of the answer: 204 also for what is ignored, 403 for what the vendor did not sign. */
export type Receiver = (callback: Callback) => Promise<204 | 400 | 403 | 404 | 429>;

export function createReceiver({ accounts, vendors, callbackUrl, poller }: ReceiverParts): Receiver {
  let second = 0;
  let received = 0;

  return async function receive({ vendor: id, body, header }) {
    const callbacks = vendors.get(id)?.callbacks;
    if (callbackUrl === undefined || callbacks === undefined) return 404;
    const now = Math.floor(Date.now() / 1_000);
    received = now === second ? received + 1 : 1;
    second = now;
    if (received > PER_SECOND_MAX) return 429;

    const fields = formOf(body);
    if (fields === undefined) return 400;
    const news = callbacks.news(fields);
    if (news === undefined) return 204;
    const post = { url: callbackAddress(callbackUrl, id), fields, header };
    const named = Object.entries(accounts).filter(([, one]) => one.vendor === id && one.accountId === news.accountId);
    const genuine = named.filter(([, account]) => callbacks.isGenuine(post, account) !== false);
    if (named.length > 0 && genuine.length === 0) return 403;
    if (genuine.length > 0) await poller.hint(genuine.map(([name]) => `${name}/${news.objectId}`));
    return 204;
  };
}

function formOf(body: string): FormPairs | undefined {
  try {
    return readFlat(body, 'body');
  } catch (error) {
    if (error instanceof Refusal) return undefined;
    throw error;
  }
}
