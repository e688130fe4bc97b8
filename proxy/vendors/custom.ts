/** A vendor of the operator's own, built from its description in `keybrake.yaml`. */
import { CAP_USD_MAX, MICROS_PER_USD, type Micros, type RefusalCode, type RefusalDetails, REFUSALS } from '../contract';
import { wholeNumber } from '../form';
import { at, isJsonObject, type Json } from '../json';
import { free, pricing, unpriceable } from './pricing';
import { CLEAR_REFUSALS, type Credential, noMoney, type Route, type Vendor, type VendorRequest } from './vendor';

/** What a call costs: `micros`, times a field, times the items of a list, or summed over a field of each item. */
export interface CustomPrice {
  readonly micros: Micros;
  /** Dotted path of a whole number, e.g. `amount.value`; inside each item where `each` is given. */
  readonly times?: string;
  /** Dotted path of a list in a JSON body; `` is the body itself. */
  readonly each?: string;
}

export interface CustomRoute {
  readonly method: Route['method'];
  /** `/v1/faxes/:id`. */
  readonly path: string;
  readonly body: 'form' | 'json';
  readonly price: CustomPrice | 'free';
  /** Dotted path of the object's id in the answer. An answer without it is not understood. */
  readonly id?: string;
}

export type CustomAuth =
  { readonly kind: 'bearer' } | { readonly kind: 'basic' } | { readonly kind: 'header'; readonly name: string };

export interface CustomVendor {
  readonly origin: string;
  readonly auth: CustomAuth;
  /** Lower case. Absent: no call of this vendor is ever sent twice. */
  readonly idempotencyHeader?: string;
  readonly passHeaders?: readonly string[];
  /**
   * The vendor's error: a template whose texts `{code}`, `{message}`, `{status}` and `{details}` stand for what is said
   * there. Refusals are written by it, and the vendor's own errors known by it.
   */
  readonly error: Readonly<Record<string, unknown>>;
  /** Statuses, beside 400, 401, 403, 404 and 429, with which the vendor refuses before it does anything. */
  readonly notExecuted?: readonly number[];
  readonly routes: readonly CustomRoute[];
}

export function customVendor(id: string, spec: CustomVendor): Vendor {
  const header = spec.idempotencyHeader ?? null;
  const places = placesOf(spec.error);
  const isVendorError = (answer: unknown) => isErrorAt(places, answer);
  return {
    id,
    origin: spec.origin,
    authorization: (credential) => authorization(spec.auth, credential),
    idempotencyHeader: header,
    routes: spec.routes.map((route) => routeOf(route, header !== null)),
    // What is not in the operator's table is refused already.
    forbidden: [],
    passHeaders: ['accept', 'user-agent', ...(spec.passHeaders ?? []), ...(header === null ? [] : [header])],
    redirection: () => undefined,
    // No price of these vendors is told by an object of theirs.
    lookupPath: () => '/',
    lookupValue: () => undefined,
    statement: { none: 'keybrake.yaml describes no way to read what this vendor executed' },
    currencyOf: () => undefined,
    toMicros: () => undefined,
    clearRefusals: [...CLEAR_REFUSALS, ...(spec.notExecuted ?? [])],
    isVendorError,
    errorCode: (answer) => (isVendorError(answer) ? codeAt(places, answer) : null),
    isRateLimit: isVendorError,
    refusalBody: (code, message, details) => refusalBody(spec.error, code, message, details),
    refusalStatus: statusOf,
  };
}

function authorization(auth: CustomAuth, { secret, user }: Credential): Readonly<Record<string, string>> {
  if (auth.kind === 'header') return { [auth.name]: secret };
  const basic = Buffer.from(`${user ?? ''}:${secret}`).toString('base64');
  return { authorization: auth.kind === 'bearer' ? `Bearer ${secret}` : `Basic ${basic}` };
}

function routeOf({ method, path, body, price, id }: CustomRoute, idempotent: boolean): Route {
  return {
    name: `${method} ${path}`,
    method,
    path,
    body,
    idempotent,
    price: price === 'free' ? free : pricing((request) => ({ price: fixed(costOf(price, request)) })),
    value: (status, answer, _terms, { quoteMicros }) => {
      const found = id === undefined ? null : idOf(at(answer, id.split('.')));
      if (status === 402 || found === undefined) return undefined;
      return { ...noMoney(found), valueMicros: quoteMicros, amountMicros: quoteMicros };
    },
  };
}

function fixed(micros: Micros) {
  if (micros > CAP_USD_MAX * MICROS_PER_USD) throw unpriceable('body', 'The call costs more than any cap can hold.');
  return { kind: 'fixed', micros, out: false } as const;
}

function idOf(value: unknown): string | undefined {
  if (typeof value === 'number' && Number.isSafeInteger(value)) return String(value);
  return typeof value === 'string' && value !== '' ? value.slice(0, 255) : undefined;
}

function costOf({ micros, times, each }: CustomPrice, request: VendorRequest): Micros {
  if (each === undefined) return micros * (times === undefined ? 1 : numberIn(request, times));
  const list = each === '' ? request.json : readAt(request.json, each);
  if (!Array.isArray(list)) throw unpriceable(each === '' ? 'body' : each, `"${each}" must be a list in a JSON body.`);
  const units = list.map((item: unknown) => (times === undefined ? 1 : wholeOf(readAt(item, times), times)));
  return micros * units.reduce((sum, one) => sum + one, 0);
}

/** Readers that do not mind the case, as Go's and .NET's, take `Pages` for `pages`, and the last of both. */
function folded(name: string): string {
  return name.toUpperCase().toLowerCase();
}

/** What is at a dotted path, if no name on the way is there a second time in another case. */
function readAt(value: unknown, dotted: string): unknown {
  const path = dotted.split('.');
  for (const [depth, name] of path.entries()) {
    const inner = at(value, path.slice(0, depth)) as Json | undefined;
    // The names of a text would be its letters.
    const names = isJsonObject(inner) ? Object.keys(inner) : [];
    const twin = names.find((other) => other !== name && folded(other) === folded(name));
    if (twin !== undefined) throw unpriceable(dotted, `Field "${twin.slice(0, 60)}" could be read as "${name}".`);
  }
  return at(value, path);
}

/** Of a JSON body the number itself; of a form the field, written `amount[value]` for `amount.value`. */
function numberIn({ body, json }: VendorRequest, path: string): number {
  if (json !== undefined) return wholeOf(readAt(json, path), path);
  const [root = '', ...rest] = path.split('.');
  const name = [root, ...rest.map((part) => `[${part}]`)].join('');
  const found = body.filter(([field]) => `${folded(field)}[`.startsWith(`${folded(name)}[`));
  return wholeNumber(found.length === 1 && found[0]?.[0] === name ? [[path, found[0][1]]] : [], path);
}

const NUMBER_MAX = 999_999_999_999;

function wholeOf(value: unknown, field: string): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= NUMBER_MAX) return value;
  throw unpriceable(field, `Field "${field}" must be a whole number of 1 to 12 digits.`);
}

interface Place {
  readonly path: readonly string[];
  readonly says: string;
}

const WORDS = ['{code}', '{message}', '{status}', '{details}'];

/** Where the template says something, e.g. `error.code`. */
function placesOf(template: unknown, path: readonly string[] = []): readonly Place[] {
  if (typeof template === 'string') return WORDS.includes(template) ? [{ path, says: template }] : [];
  if (typeof template !== 'object' || template === null) return [];
  return Object.entries(template).flatMap(([name, inner]) => placesOf(inner, [...path, name]));
}

/** What a template must say for the vendor's errors to be known by it; undefined: it does. */
export function templateProblem(template: unknown): string | undefined {
  const says = placesOf(template).map((place) => place.says);
  return says.includes('{message}') ? undefined : 'must say {message} somewhere, and best {code} too';
}

function isErrorAt(places: readonly Place[], answer: unknown): boolean {
  return places.every(({ path, says }) => {
    const found = at(answer, path);
    if (says === '{message}') return typeof found === 'string';
    return says !== '{code}' || typeof found === 'string' || typeof found === 'number';
  });
}

function codeAt(places: readonly Place[], answer: unknown): string | null {
  const place = places.find(({ says }) => says === '{code}') ?? places.find(({ says }) => says === '{message}');
  const found = place === undefined ? undefined : at(answer, place.path);
  return typeof found === 'string' || typeof found === 'number' ? String(found).slice(0, 100) : null;
}

function refusalBody(template: object, code: RefusalCode, message: string, details: RefusalDetails): object {
  const text = message.startsWith(code) ? message : `${code}: ${message}`;
  const words: Readonly<Record<string, unknown>> = {
    '{code}': code,
    '{message}': text,
    '{status}': statusOf(code),
    '{details}': details,
  };
  const filled = (value: unknown): unknown => {
    if (typeof value === 'string') return Object.hasOwn(words, value) ? words[value] : value;
    if (Array.isArray(value)) return value.map(filled);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, filled(inner)]));
  };
  return filled(template) as object;
}

function statusOf(code: RefusalCode): number {
  return code === 'idempotency_mismatch' ? 409 : REFUSALS[code].status;
}
