/** What Twilio says of its messages and calls. */
import { encodeForm } from '../form';
import { at } from '../json';
import type { Listed, Statement } from './statement';
import { valueOfCall, valueOfMessage } from './twilio-value';
import type { PricingTerms } from './vendor';

const PAGE = 1_000;

export const twilioStatement: Statement = {
  of(objectId, accountId = '') {
    const isCall = objectId.startsWith('CA');
    if (!isCall && !/^(?:SM|MM)/.test(objectId)) return undefined;
    return {
      path: `/2010-04-01/Accounts/${accountId}/${isCall ? 'Calls' : 'Messages'}/${objectId}.json`,
      value: (answer, terms) => (isCall ? valueOfCall(answer, terms) : valueOfMessage(answer, terms)),
      untold: 'Twilio has no price for it yet',
    };
  },
  made(fromMs, toMs, accountId = '') {
    const list = `/2010-04-01/Accounts/${accountId}/Messages.json`;
    const query = encodeForm([
      ['DateSent>', second(fromMs)],
      ['DateSent<', second(toMs)],
      ['PageSize', String(PAGE)],
    ]);
    return {
      path: `${list}?${query}`,
      page(answer, terms) {
        const messages = at(answer, ['messages']);
        if (!Array.isArray(messages)) return undefined;
        const items = messages.flatMap((message: unknown) => listed(message, terms));
        const next = at(answer, ['next_page_uri']);
        return typeof next === 'string' && next.startsWith(`${list}?`) ? { items, next } : { items };
      },
    };
  },
};

const SID = /^(?:SM|MM)[A-Za-z0-9]{2,64}$/;

/** What came in, and what Twilio answered by itself, is no call of anybody's. */
function listed(message: unknown, terms: PricingTerms): Listed[] {
  const sid = at(message, ['sid']);
  if (typeof sid !== 'string' || !SID.test(sid) || at(message, ['direction']) !== 'outbound-api') return [];
  const madeMs = Date.parse(String(at(message, ['date_created'])));
  return [{ objectId: sid, vendorId: sid, valueMicros: valueOfMessage(message, terms)?.valueMicros ?? null, madeMs }];
}

function second(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}
