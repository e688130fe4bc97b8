/** `prices` and `vendors` of keybrake.yaml: what calls cost, and vendors of the operator's own. */
import { z } from 'zod';
import { CAP_USD_MAX, type Micros, usdToMicros } from '../../proxy/contract';
import { vendorNameProblem, type VendorSettings } from '../../proxy/vendors';
import { type CustomVendor, templateProblem } from '../../proxy/vendors/custom';
import { tariffKeyProblem } from '../../proxy/vendors/tariff';

/** Dollars with at most six decimals, as micro-dollars. */
const usd = z.number('must be a number of dollars').transform((value, context): Micros => {
  const micros = usdToMicros(value);
  if (micros !== undefined) return micros;
  context.addIssue({ code: 'custom', message: `must be dollars from 0 to ${CAP_USD_MAX}, at most six decimals` });
  return z.NEVER;
});

const tariffKey = z.string().superRefine((key, context) => {
  const problem = tariffKeyProblem(key);
  if (problem !== undefined) context.addIssue({ code: 'custom', message: `${key} ${problem}` });
});

/** One schema for objects and one for all else, so that a complaint is about what was meant. */
function byShape<P, O>(plain: z.ZodType<P>, object: z.ZodType<O>) {
  return z.unknown().transform((value, context): P | O => {
    const parsed = (typeof value === 'object' && value !== null ? object : plain).safeParse(value);
    if (parsed.success) return parsed.data;
    for (const issue of parsed.error.issues) {
      const message = issue.code === 'invalid_key' ? (issue.issues[0]?.message ?? issue.message) : issue.message;
      context.addIssue({ code: 'custom', path: issue.path, message });
    }
    return z.NEVER;
  });
}

/** One price for everywhere, or by country and prefix. */
const tariff = byShape(usd, z.record(tariffKey, usd));

const twilio = z.strictObject({
  sms: tariff.optional(),
  mms: tariff.optional(),
  content: tariff.optional(),
  whatsapp: tariff.optional(),
  rcs: tariff.optional(),
  messenger: usd.optional(),
  call_minute: tariff.optional(),
  call_seconds_max: z.number().int().min(1).max(14_400).optional(),
  verify: z.record(z.string().regex(/^\w{1,20}$/, 'must be a channel, e.g. sms'), tariff).optional(),
  verify_check: usd.optional(),
  lookups: z.record(z.string().regex(/^\w{1,60}$/, 'must be a field, e.g. caller_name'), usd).optional(),
});

export const pricesSchema = z.strictObject({
  twilio: twilio.nullish(),
  resend: z.strictObject({ email: usd.optional() }).nullish(),
});

const header = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,63}$/i, 'must be the name of a header')
  .toLowerCase();
/** Headers that are the proxy's to set. */
const OWN_HEADERS =
  /^(?:authorization|host|connection|content-.*|transfer-encoding|keybrake-.*|cookie|accept-encoding)$/;
const passHeader = header.refine((name) => !OWN_HEADERS.test(name), { error: 'is set by the proxy itself' });
const dotted = z.string().regex(/^[\w-]+(?:\.[\w-]+)*$/, 'must be a path such as amount.value');

const price = byShape(
  z.literal('free', 'must be free, or dollars: { usd: 0.07 }'),
  z
    .strictObject({ usd, times: dotted.optional(), each: z.union([dotted, z.literal('')]).optional() })
    .transform(({ usd: micros, times, each }) => ({
      micros,
      ...(times !== undefined && { times }),
      ...(each !== undefined && { each }),
    })),
);

const ROUTE = /^(GET|POST|PUT|PATCH|DELETE) ((?:\/(?::[A-Za-z]\w*|[A-Za-z0-9_~-][A-Za-z0-9._~-]*))+)$/;

const route = z
  .strictObject({
    route: z.string().regex(ROUTE, 'must be a method and a path, e.g. POST /v1/faxes/:id'),
    body: z.enum(['form', 'json']).default('json'),
    price,
    id: dotted.optional(),
  })
  .superRefine(({ body, price: cost }, context) => {
    if (cost === 'free' || cost.each === undefined || body === 'json') return;
    context.addIssue({ code: 'custom', path: ['price', 'each'], message: 'needs body: json' });
  })
  .transform(({ route: name, id, ...rest }) => {
    const [, method = 'GET', path = '/'] = ROUTE.exec(name) ?? [];
    return { ...rest, method: method as 'GET', path, ...(id !== undefined && { id }) };
  });

const auth = byShape(
  z.enum(['bearer', 'basic'], 'must be bearer, basic or { header: X-Api-Key }').transform((kind) => ({ kind })),
  z.strictObject({ header }).transform(({ header: name }) => ({ kind: 'header' as const, name })),
);

const PLAIN_ERROR = { error: { code: '{code}', message: '{message}', keybrake: '{details}' } };

const vendor = z
  .strictObject({
    origin: z.string().refine(isOrigin, { error: 'must be an https origin, e.g. https://api.fax.example' }),
    auth: auth.default({ kind: 'bearer' }),
    idempotency_header: header.optional(),
    pass_headers: z.array(passHeader).max(20).default([]),
    error: z.record(z.string(), z.unknown()).default(PLAIN_ERROR),
    not_executed: z.array(z.number().int().min(400).max(499)).default([]),
    routes: z.array(route).min(1, 'must have a route').max(200),
  })
  .transform((spec, context): CustomVendor => {
    const problem = templateProblem(spec.error);
    if (problem !== undefined) context.addIssue({ code: 'custom', path: ['error'], message: problem });
    const names = spec.routes.map(({ method, path }) => `${method} ${path.replaceAll(/:\w+/g, ':')}`);
    const twice = names.find((name, i) => names.indexOf(name) !== i);
    if (twice !== undefined) {
      context.addIssue({ code: 'custom', path: ['routes'], message: `${twice} is there twice` });
    }
    const {
      idempotency_header: idempotencyHeader,
      pass_headers: passHeaders,
      not_executed: notExecuted,
      ...rest
    } = spec;
    return { ...rest, passHeaders, notExecuted, ...(idempotencyHeader !== undefined && { idempotencyHeader }) };
  });

function isOrigin(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const url = new URL(text);
  const local = url.protocol === 'http:' && /^(?:127\.\d+\.\d+\.\d+|localhost|\[::1\])$/.test(url.hostname);
  return (url.protocol === 'https:' || local) && text.replace(/\/$/, '') === url.origin;
}

const vendorName = z.string().superRefine((name, context) => {
  const problem = vendorNameProblem(name);
  if (problem !== undefined) context.addIssue({ code: 'custom', message: `${name} ${problem}` });
});

export const vendorsSchema = z.record(vendorName, vendor);

/** The file's prices without the absent ones, which would hide those that are shipped. */
export function vendorSettings(
  { twilio: texts, resend: mails }: z.output<typeof pricesSchema>,
  vendors: z.output<typeof vendorsSchema>,
): VendorSettings {
  const prices = { ...(texts && { twilio: present(texts) }), ...(mails && { resend: present(mails) }) };
  return {
    ...(Object.keys(prices).length > 0 && { prices }),
    ...(Object.keys(vendors).length > 0 && { vendors }),
  };
}

function present(given: object): object {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}
