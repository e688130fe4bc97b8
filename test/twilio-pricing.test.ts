import * as fc from 'fast-check';
import { matchRoute, readPath, readRequest } from '../proxy/reading';
import { twilioWith } from '../proxy/vendors/twilio';
import { segmentsOf } from '../proxy/vendors/twilio-price';
import type { Pricing } from '../proxy/vendors/vendor';
import { segmentsOf as billedSegments } from '../src/sandbox/twilio/segments';

const AC = `AC${'0'.repeat(32)}`;
const MESSAGES = `/2010-04-01/Accounts/${AC}/Messages.json`;
const CALLS = `/2010-04-01/Accounts/${AC}/Calls.json`;
const twilio = twilioWith({
  sms: { GB: 52_400, '+4477': 60_000, '+8816': 1_500_000 },
  whatsapp: 140_000,
  content: { US: 300_000, AT: 300_000 },
  call_minute: { US: 20_000 },
  call_seconds_max: 90,
  verify: { sms: 130_000, call: { US: 200_000 }, email: 60_000 },
  verify_check: 50_000,
  lookups: { caller_name: 10_000, line_type_intelligence: 8_000 },
});

function priceOf(
  method: string,
  url: string,
  fields: Record<string, string | string[]> = {},
  vendor = twilio,
): Pricing {
  const body = new URLSearchParams();
  for (const [name, value] of Object.entries(fields)) for (const one of [value].flat()) body.append(name, one);
  const target = readPath(url);
  const match = matchRoute(vendor, method, target.path);
  if (match === undefined) throw new Error(`no route for ${url}`);
  const headers = method === 'GET' ? {} : { 'content-type': 'application/x-www-form-urlencoded' };
  const reads = { kind: match.route.body, repeats: vendor.repeats };
  const request = readRequest({ method, target, headers, bodyText: body.toString(), ...reads });
  return match.route.price(request, match.ids, { fx: {} });
}

const fixed = (micros: number) => ({ ok: true, price: { kind: 'fixed', micros, out: false } });

describe('segments are those that Twilio bills', () => {
  test.each([
    ['', 1],
    ['x'.repeat(160), 1],
    ['x'.repeat(161), 2],
    ['x'.repeat(306), 2],
    ['x'.repeat(307), 3],
    ['x'.repeat(1600), 11],
    ['д'.repeat(70), 1],
    ['д'.repeat(71), 2],
    ['д'.repeat(134), 2],
    ['д'.repeat(135), 3],
    [`€${'x'.repeat(158)}`, 1],
    [`€${'x'.repeat(159)}`, 2],
    [`${'x'.repeat(71)}😀`, 2],
    ['😀'.repeat(35), 1],
    ['😀'.repeat(36), 2],
    // Without smart encoding the curly quote makes it UCS-2: a service may have that off.
    [`’${'x'.repeat(70)}`, 2],
    ['…'.repeat(70), 2],
    // One character to a reader, and not torn apart by the library, but many to Twilio.
    [`a${'\u0301'.repeat(1599)}`, 24],
    ['👨‍'.repeat(400), 19],
  ])('%#', (text, count) => {
    expect(segmentsOf(text)).toBe(count);
  });

  test('whatever the text, they hold all of it', () => {
    const gsm = /^[A-Za-z0-9 @£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ!"#¤%&'()*+,\-./:;<=>?¡ÄÖÑÜ§¿äöñüà\r\n]*$/;
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 400 }), (text) => {
        const single = gsm.test(text) ? 160 : 70;
        const many = gsm.test(text) ? 153 : 67;
        const least = text.length <= single ? 1 : Math.ceil(text.length / many);
        expect(segmentsOf(text)).toBeGreaterThanOrEqual(least);
      }),
    );
  });

  test('they are never fewer than those that the stand-in bills, with and without smart encoding', () => {
    const unit = fc.constantFrom('a', '€', 'д', '\u0301', '\u200d', '👨', '🇦', '\r\n', '’', '\u00bc');
    fc.assert(
      fc.property(fc.array(fc.tuple(unit, fc.integer({ min: 1, max: 200 })), { maxLength: 8 }), (runs) => {
        const text = runs.map(([one, times]) => one.repeat(times)).join('');
        const billed = [false, true].map((smart) => billedSegments(text, smart).segments);
        expect(segmentsOf(text)).toBeGreaterThanOrEqual(Math.max(...billed));
      }),
    );
  });
});

describe('a message costs its segments at the price of its destination', () => {
  const From = '+15005550006';
  test.each<[string, Record<string, string | string[]>, number]>([
    ['one segment to the US', { To: '+14155550100', From, Body: 'hi' }, 20_000],
    ['161 characters', { To: '+14155550100', From, Body: 'x'.repeat(161) }, 40_000],
    ['71 Cyrillic letters', { To: '+14155550100', From, Body: 'д'.repeat(71) }, 40_000],
    ['a Messaging Service', { To: '+14155550100', MessagingServiceSid: 'MG1', Body: 'x'.repeat(161) }, 40_000],
    ['Canada', { To: '+16045550100', From, Body: 'hi' }, 20_000],
    ['the UK', { To: '+442071838750', From, Body: 'hi' }, 52_400],
    ['the longest prefix first', { To: '+447712345678', From, Body: 'hi' }, 60_000],
    ['a number of no country', { To: '+881612345678', From, Body: 'hi' }, 1_500_000],
    ['a picture', { To: '+14155550100', From, Body: 'hi', MediaUrl: 'https://a.test/b.png' }, 50_000],
    ['two pictures', { To: '+14155550100', From, MediaUrl: ['https://a.test/1', 'https://a.test/2'] }, 50_000],
    ['sent as MMS', { To: '+14155550100', From, Body: 'hi', SendAsMms: 'true' }, 50_000],
    // Where a carrier takes no pictures, Twilio sends the text with a link to each, and bills its segments.
    [
      'a picture with a long text',
      { To: '+14155550100', From, Body: 'x'.repeat(306), MediaUrl: 'https://a.test' },
      60_000,
    ],
    ['MMS with a long text', { To: '+14155550100', From, Body: 'x'.repeat(1600), SendAsMms: 'true' }, 220_000],
    ['MMS, said in another way', { To: '+14155550100', From, Body: 'x'.repeat(1600), SendAsMms: 'False' }, 220_000],
    ['the longest text of surrogate pairs', { To: '+14155550100', From, Body: '😀'.repeat(1600) }, 980_000],
    ['an empty picture', { To: '+14155550100', From, Body: 'x'.repeat(1600), MediaUrl: '' }, 220_000],
    ['an empty template', { To: '+14155550100', From, Body: 'д'.repeat(1600), ContentSid: '' }, 480_000],
    [
      'an empty template beside a picture',
      { To: '+14155550101', From, MediaUrl: 'https://a.test', ContentSid: '' },
      300_000,
    ],
    ['a template', { To: '+14155550100', From, ContentSid: 'HX1', ContentVariables: '{}' }, 300_000],
    ['WhatsApp, anywhere', { To: 'whatsapp:+4366012345678', From, Body: 'hi' }, 140_000],
    ['a template on WhatsApp', { To: 'whatsapp:+14155550100', From, ContentSid: 'HX1' }, 140_000],
  ])('%s', (_what, fields, micros) => {
    expect(priceOf('POST', MESSAGES, fields)).toEqual(fixed(micros));
  });

  test.each([
    ['a country without a price', { To: '+4366012345678', Body: 'x' }, /no price for AT: set prices.twilio.sms.AT in/],
    ['Jamaica, which shares +1', { To: '+18765550100', Body: 'x' }, /prices\.twilio\.sms\.JM/],
    ['no country', { To: '+88213300655', Body: 'x' }, /numbers that begin with \+88213.*sms\."\+88213"/],
    ['an area that is none', { To: '+15551234567', Body: 'x' }, /sms\."\+15551"/],
    ['a premium number', { To: '+449012345678', Body: 'x' }, /numbers that begin with \+44901/],
    ['a personal number', { To: '+447012345678', Body: 'x' }, /sms\."\+44701"/],
    ['a picture there', { To: '+442071838750', MediaUrl: 'https://a.test' }, /prices\.twilio\.mms\.GB/],
    ['a text beside a template', { To: '+4366012345678', ContentSid: 'HX1', Body: 'x' }, /prices\.twilio\.sms\.AT/],
    ['a template there', { To: '+442071838750', ContentSid: 'HX1' }, /prices\.twilio\.content\.GB/],
    ['Messenger', { To: 'messenger:123', Body: 'x' }, /prices\.twilio\.messenger/],
    ['RCS', { To: 'rcs:+14155550100', Body: 'x' }, /prices\.twilio\.rcs\.US/],
    ['a national number', { To: '4155550100', Body: 'x' }, /E\.164/],
    ['two numbers', { To: '+14155550100,+18765550100', Body: 'x' }, /E\.164/],
    ['a space in it', { To: '+1 4155550100', Body: 'x' }, /E\.164/],
    ['no To', { Body: 'x' }, /"To" is missing/],
  ])('%s is refused and the setting named', (_what, fields, reason) => {
    const pricing = priceOf('POST', MESSAGES, fields);
    expect(pricing).toMatchObject({ ok: false, code: 'request_unpriceable', details: { field: 'To' } });
    expect(pricing).toMatchObject({ reason: expect.stringMatching(reason) as string });
  });

  // Counting takes a time that grows with the square of the text: a megabyte would hold up every call for an hour.
  test.each([
    ['Body', { Body: 'x'.repeat(3_201) }],
    ['Body', { Body: 'x'.repeat(50_000) }],
    ['Body', { Body: '😀'.repeat(1_601), ContentSid: 'HX1' }],
    ['MediaUrl', { MediaUrl: Array<string>(11).fill('https://a.test') }],
  ])('what is far more than Twilio takes is refused before it is counted: %s', (field, fields) => {
    const pricing = priceOf('POST', MESSAGES, { To: '+14155550100', ...fields });
    expect(pricing).toMatchObject({ ok: false, code: 'request_unpriceable', details: { field } });
  });

  test.each(['ShortenUrls', 'body', 'to', 'Something'])('field %s may change the bill: refused', (field) => {
    const fields = { To: '+14155550100', Body: 'x', [field]: 'true' };
    expect(priceOf('POST', MESSAGES, fields)).toMatchObject({ code: 'request_unpriceable', details: { field } });
  });

  test.each([
    [{ Status: 'canceled' }, true],
    [{ Body: '' }, true],
    [{ Status: 'sent' }, false],
    [{ Body: 'new text' }, false],
    [{ SendAt: '2030-01-01T00:00:00Z' }, false],
  ])('an update %j may only end or empty it', (fields, ok) => {
    const pricing = priceOf('POST', `/2010-04-01/Accounts/${AC}/Messages/SM1.json`, fields);
    expect(pricing.ok).toBe(ok);
    if (pricing.ok) expect(pricing.price).toEqual({ kind: 'free', objectId: 'SM1' });
  });
});

describe('RCS, which is billed by 160 bytes of UTF-8 in the US', () => {
  const rcs = twilioWith({ rcs: { US: 25_000, GB: 60_000 }, sms: { GB: 52_400 } });
  const costOf = (fields: Record<string, string>) => {
    const pricing = priceOf('POST', MESSAGES, fields, rcs);
    return pricing.ok && pricing.price.kind === 'fixed' ? pricing.price.micros : pricing;
  };
  const Body = 'é'.repeat(160);
  test.each<[string, Record<string, string>, number]>([
    ['a short text', { To: 'rcs:+14155550100', Body: 'hi' }, 25_000],
    ['a text of 320 bytes', { To: 'rcs:+14155550100', Body }, 50_000],
    ['one byte more', { To: 'rcs:+14155550100', Body: `${Body}x` }, 75_000],
    ['a template', { To: 'rcs:+14155550100', ContentSid: 'HX1' }, 25_000],
    ['with a text in its place', { To: 'rcs:+14155550100', Body, FallbackFrom: '+15005550006' }, 50_000],
    [
      'with a longer text in its place',
      { To: 'rcs:+442071838750', Body: 'é'.repeat(400), FallbackFrom: 'MG1' },
      157_200,
    ],
    ['elsewhere a message is one', { To: 'rcs:+442071838750', Body }, 60_000],
    ['a text that its service may send so', { To: '+14155550100', MessagingServiceSid: 'MG1', Body }, 50_000],
    ['a service given as the sender', { To: '+14155550100', From: `MG${'0c'.repeat(16)}`, Body }, 50_000],
    ['a name that begins as a service does', { To: '+14155550100', From: 'MGM Resorts', Body }, 20_000],
    ['an RCS sender', { To: '+14155550100', From: 'rcs:agent', Body }, 50_000],
    ['a text from a number', { To: '+14155550100', From: '+15005550006', Body }, 20_000],
  ])('%s', (_what, fields, micros) => {
    expect(costOf(fields)).toBe(micros);
  });

  test('an RCS sender is refused where RCS has no price', () => {
    const pricing = priceOf('POST', MESSAGES, { To: '+14155550100', From: 'rcs:agent', Body });
    expect(pricing).toMatchObject({ reason: expect.stringMatching(/prices\.twilio\.rcs\.US/) as string });
  });
});

describe('a call costs the minutes that it may last', () => {
  const Twiml =
    '<?xml version="1.0"?><Response><Say language="en-US" loop="2">Hi &lt;you&gt;</Say><Hangup/></Response>';
  const call = { To: '+14155550100', From: '+15005550006', Twiml };

  test('its own limit, by started minutes', () => {
    expect(priceOf('POST', CALLS, { ...call, TimeLimit: '61' })).toEqual({ ...fixed(40_000), adds: [] });
  });

  test('without one, the limit of the settings is added', () => {
    expect(priceOf('POST', CALLS, call)).toEqual({ ...fixed(40_000), adds: [['TimeLimit', '90']] });
  });

  test.each([
    [{ Url: 'https://a.test/twiml' }, 'parameter_not_allowed', 'Url'],
    [{ ApplicationSid: 'AP1' }, 'parameter_not_allowed', 'ApplicationSid'],
    [{ FallbackUrl: 'https://a.test' }, 'parameter_not_allowed', 'FallbackUrl'],
    [{ Record: 'true' }, 'request_unpriceable', 'Record'],
    [{ MachineDetection: 'Enable' }, 'request_unpriceable', 'MachineDetection'],
    [{ TimeLimit: '0' }, 'request_unpriceable', 'TimeLimit'],
    [{ TimeLimit: '14401' }, 'request_unpriceable', 'TimeLimit'],
    [{ TimeLimit: '1e9' }, 'request_unpriceable', 'TimeLimit'],
    [{ To: 'sip:a@b.test' }, 'request_unpriceable', 'To'],
    [{ To: '+442071838750' }, 'request_unpriceable', 'To'],
  ])('%j is refused', (change, code, field) => {
    const pricing = priceOf('POST', CALLS, { ...call, ...change });
    expect(pricing).toMatchObject({ ok: false, code, details: { field } });
  });

  test.each([
    '<Response><Dial>+18765550100</Dial></Response>',
    '<Response><Redirect>https://a.test</Redirect></Response>',
    '<Response><Gather action="/x"/></Response>',
    '<Response><Say voice="Polly.Joanna-Neural">x</Say></Response>',
    '<Response><Record/></Response>',
    '<!DOCTYPE a [<!ENTITY b SYSTEM "https://a.test">]><Response/>',
    '<Response><![CDATA[<Dial>]]></Response>',
    '<Response><Say>x</Say><Dial',
    '<Response><!-- --><Dial>1</Dial></Response>',
    // Read in the encoding that they declare, these may dial: `+ADw-` is `<` in UTF-7, `L` is in EBCDIC.
    '<?xml version="1.0" encoding="UTF-7"?><Response>+ADw-Dial+AD4-1+ADw-/Dial+AD4-</Response>',
    "<?xml version='1.0' encoding='IBM037'?><Response/>",
  ])('instructions %s are refused', (twiml) => {
    const pricing = priceOf('POST', CALLS, { ...call, Twiml: twiml });
    expect(pricing).toMatchObject({ ok: false, code: 'parameter_not_allowed', details: { field: 'Twiml' } });
  });

  test.each([
    [{ Status: 'completed' }, true],
    [{ TimeLimit: '14400' }, false],
    [{ Twiml: '<Response/>' }, false],
  ])('an update %j may only end it', (fields, ok) => {
    const path = `/2010-04-01/Accounts/${AC}/Calls/CA1.json`;
    expect(priceOf('POST', path, fields).ok).toBe(ok);
  });
});

describe('Verify and Lookup', () => {
  const VERIFY = '/verify/v2/Services/VA1/Verifications';

  test.each<[Record<string, string>, number]>([
    [{ To: '+4366012345678', Channel: 'sms' }, 130_000],
    [{ To: '+14155550100', Channel: 'call' }, 200_000],
    [{ To: 'a@b.test', Channel: 'email' }, 60_000],
  ])('a verification %j costs the price of its channel', (fields, micros) => {
    expect(priceOf('POST', VERIFY, fields)).toEqual(fixed(micros));
  });

  test.each([
    [{ To: '+14155550100', Channel: 'whatsapp' }, /prices\.twilio\.verify\.whatsapp/],
    [{ To: '+14155550100', Channel: 'constructor' }, /prices\.twilio\.verify\.constructor/],
    [{ To: '+442071838750', Channel: 'call' }, /prices\.twilio\.verify\.call\.GB/],
    [{ To: '+14155550100' }, /"Channel" is missing/],
    [{ To: '+14155550100', Channel: 'sms', CustomMessage: 'long' }, /CustomMessage/],
  ])('%j is refused', (fields, reason) => {
    const pricing = priceOf('POST', VERIFY, fields);
    expect(pricing).toMatchObject({ ok: false, reason: expect.stringMatching(reason) as string });
  });

  test('a check costs what the operator counts for success, and must be named', () => {
    const check = '/verify/v2/Services/VA1/VerificationCheck';
    expect(priceOf('POST', check, { To: '+1', Code: '1' })).toEqual(fixed(50_000));
    const bare = twilioWith().routes.find(({ path }) => path.endsWith('VerificationCheck'));
    const request = { method: 'POST', path: check, query: [], body: [], headers: {} };
    expect(bare?.price(request, {}, { fx: {} })).toMatchObject({
      reason: expect.stringMatching(/verify_check/) as string,
    });
  });

  test.each([
    ['', { kind: 'free' }],
    ['?CountryCode=US', { kind: 'free' }],
    ['?Fields=caller_name', { kind: 'fixed', micros: 10_000, out: false }],
    ['?Fields=caller_name,line_type_intelligence', { kind: 'fixed', micros: 18_000, out: false }],
  ])('a look-up %s, a read, costs its fields', (query, price) => {
    expect(priceOf('GET', `/lookups/v2/PhoneNumbers/+14155550100${query}`)).toEqual({ ok: true, price });
  });

  test.each(['?Fields=sim_swap', '?fields=caller_name', '?Fields=Caller_Name'])('a look-up %s is refused', (query) => {
    expect(priceOf('GET', `/lookups/v2/PhoneNumbers/+14155550100${query}`)).toMatchObject({ ok: false });
  });
});
