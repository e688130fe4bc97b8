/** What is taken for a call at the vendor, and what is not: read from the vendors' answers alone. */
import { stripeFinder } from '../proxy/vendors/stripe-find';
import { messageFinder } from '../proxy/vendors/twilio-find';
import type { FormPairs, Sought, VendorRequest } from '../proxy/vendors/vendor';

const T0 = Date.parse('2026-11-24T12:00:00Z');
const PATH = '/2010-04-01/Accounts/AC1/Messages.json';

function sought(given: Partial<Sought> & { body?: FormPairs } = {}): Sought {
  const { body = [], ...rest } = given;
  const request: VendorRequest = { method: 'POST', path: PATH, query: [], body, headers: {} };
  return { path: PATH, ids: {}, key: null, request, fromMs: T0 - 5_000, toMs: T0 + 35_000, ...rest };
}

describe("Twilio's texts", () => {
  const TEXT: FormPairs = [
    ['To', '+14155550100'],
    ['From', '+15005550006'],
    ['Body', 'Hi there'],
  ];
  const at = (seconds: number) => new Date(T0 + seconds * 1_000).toUTCString().replace('GMT', '+0000');
  const message = (given: object = {}) => ({
    sid: `SM${'1'.repeat(32)}`,
    to: '+14155550100',
    from: '+15005550006',
    body: 'Hi there',
    messaging_service_sid: null,
    direction: 'outbound-api',
    date_created: at(1),
    date_sent: null,
    ...given,
  });
  const idsIn = (messages: readonly object[], body = TEXT) =>
    messageFinder.read({ messages }, sought({ body }))?.candidates.map(({ vendorId }) => vendorId);

  test.each([
    ['one that waits to be sent', {}, 1],
    ['one that was made 5 s before by the other clock', { date_created: at(-5) }, 1],
    ['an older one', { date_created: at(-7) }, 0],
    ['one that was made after the call had ended', { date_created: at(36) }, 0],
    ['another text', { body: 'Hi there ' }, 0],
    ['the text in other letters', { body: 'hi there' }, 0],
    ['one to another number', { to: '+14155550101' }, 0],
    ['one from another number', { from: '+15005550007' }, 0],
    ['one of a Messaging Service, where a number was the sender', { messaging_service_sid: 'MG1' }, 0],
    ['one that came in, where both numbers are of the account', { direction: 'inbound' }, 0],
    ['one that Twilio answered by itself', { direction: 'outbound-reply' }, 0],
    ['one without a time', { date_created: null }, 0],
    ['one without a sid', { sid: undefined }, 0],
  ])('%s: %j counts %d', (_what, given, count) => {
    expect(idsIn([message(given)])).toHaveLength(count);
  });

  const SERVICE = `MG${'0c'.repeat(16)}`;

  test('a Messaging Service is known by its sid, whichever number it chose', () => {
    const body: FormPairs = [
      ['To', '+14155550100'],
      ['MessagingServiceSid', SERVICE],
      ['Body', 'Hi there'],
    ];
    expect(idsIn([message({ messaging_service_sid: SERVICE, from: '+15005550009' })], body)).toHaveLength(1);
    expect(idsIn([message()], body)).toHaveLength(0);
    // Twilio takes its sid as the sender too, and answers with the number that it chose.
    const asSender: FormPairs = [TEXT[0]!, ['From', SERVICE], TEXT[2]!];
    expect(idsIn([message({ messaging_service_sid: SERVICE, from: '+15005550009' })], asSender)).toHaveLength(1);
    expect(messageFinder.search(sought({ body: asSender }))).toBe(`${PATH}?To=%2B14155550100&PageSize=50`);
    const likeness = (fields: FormPairs) => messageFinder.likeness?.({ ...sought().request!, body: fields });
    expect(likeness(asSender)).toBe(likeness(body));
  });

  test('a name that begins as the sid of a service does is a sender', () => {
    const body: FormPairs = [TEXT[0]!, ['From', 'MGM Resorts'], TEXT[2]!];
    expect(idsIn([message({ from: 'MGM Resorts' })], body)).toHaveLength(1);
  });

  test('the next page is read only of the same list, and while older messages could matter', () => {
    const next = (uri: string, created: number) =>
      messageFinder.read(
        { messages: [message({ date_created: at(created) })], next_page_uri: uri },
        sought({ body: TEXT }),
      )?.next;
    expect(next(`${PATH}?Page=1`, 60)).toBe(`${PATH}?Page=1`);
    expect(next(`${PATH}?Page=1`, -60)).toBeUndefined();
    expect(next('/2010-04-01/Accounts/AC2/Messages.json?Page=1', 60)).toBeUndefined();
  });

  test('without a text of its own there is nothing to know a message by', () => {
    for (const body of [TEXT.slice(0, 2), [...TEXT.slice(0, 2), ['Body', '']] as FormPairs, TEXT.slice(1)]) {
      expect(messageFinder.search(sought({ body }))).toBeUndefined();
      expect(messageFinder.likeness?.({ ...sought({ body }).request!, body })).toBeUndefined();
    }
    expect(messageFinder.search(sought({ body: TEXT }))).toBe(
      `${PATH}?To=%2B14155550100&From=%2B15005550006&PageSize=50`,
    );
  });
});

describe("Stripe's events", () => {
  const create = stripeFinder('/v1/payment_intents')!;
  const event = (key: string, id: string, object = 'payment_intent') => ({
    id: 'evt_1',
    request: { id: 'req_1', idempotency_key: key },
    data: { object: { id, object } },
  });
  const asked = sought({ path: '/v1/payment_intents', key: 'order:1' });

  test('only the event of the same key counts, and only an object of the kind that the route makes', () => {
    const data = [event('order:2', 'pi_2'), event('order:1', 'ch_1', 'charge'), event('order:1', 'pi_1')];
    expect(create.read({ data, has_more: true }, asked)).toEqual({
      candidates: [{ vendorId: 'pi_1', path: '/v1/payment_intents/pi_1' }],
    });
  });

  test('a change counts only for the payment that its path names', () => {
    const confirm = stripeFinder('/v1/payment_intents/:id/confirm')!;
    const of = sought({ key: 'order:1', ids: { id: 'pi_1' }, path: '/v1/payment_intents/pi_1/confirm' });
    expect(confirm.read({ data: [event('order:1', 'pi_2')] }, of)?.candidates).toEqual([]);
    expect(confirm.read({ data: [event('order:1', 'pi_1')] }, of)?.candidates).toHaveLength(1);
  });

  test('an id that could leave its path segment is not read', () => {
    expect(create.read({ data: [event('order:1', '../v1/charges')] }, asked)?.candidates).toEqual([]);
  });

  test('pages are read on until the key is found, within the time in which the call can have been executed', () => {
    const page = create.read({ data: [event('order:2', 'pi_2')], has_more: true }, asked);
    expect(page?.next).toBe(`${create.search(asked)}&starting_after=evt_1`);
    expect(decodeURIComponent(create.search(asked)!)).toBe(
      `/v1/events?type=payment_intent.*&created[gte]=${T0 / 1_000 - 5}&created[lte]=${T0 / 1_000 + 35}&limit=100`,
    );
    expect(create.read({ error: {} }, asked)).toBeUndefined();
  });

  test('what no event tells of cannot be looked up', () => {
    for (const path of [
      '/v1/checkout/sessions',
      '/v1/customers/:id/balance_transactions',
      '/v2/money_management/payout_intents',
    ]) {
      expect(stripeFinder(path)).toBeUndefined();
    }
  });
});
