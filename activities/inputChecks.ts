/**
 * Checks of the input that concern several fields, or what zod cannot say. They read the raw input, so that they are
 * reported together with the wrong fields of the schema; a field that is itself wrong is left to the schema.
 */
import type { Issue } from '../proxy/contract';
import type { VendorView } from '../proxy/endpoints';
import { isExact } from './fields';
import type { RunFacts } from './input';
import { parseTemplate } from './template';
import { ACCOUNT_SEGMENT, type EndpointShape, FIELD, nearestRoute, routeNamed, routeOf, shapeOf } from './vendorRoutes';

/** Inline records are carried in the history, where a payload must stay below Temporal's 2 MB. */
export const INLINE_BYTES_MAX = 1_000_000;
const INLINE_ISSUES_MAX = 20;
const PARAMS_DEPTH_MAX = 10;

/** What is wrong between the fields of the input. */
export function crossIssues(raw: unknown, facts: RunFacts, vendors?: readonly VendorView[]): Issue[] {
  if (!isObject(raw)) return [];
  const key = keyIn(raw, vendors);
  return [
    ...jobIssues(raw, facts),
    ...callIssues(raw['call'], key),
    ...(vendors === undefined ? [] : keyIssues(raw['key'], vendors, key)),
    ...resultsIssues(raw),
  ];
}

/** What the raw key allows, as far as it can be read. */
interface Key {
  readonly allowed: readonly string[];
  readonly view: VendorView | undefined;
}

/** What is wrong with the records of an inline source, by index. */
export function inlineIssues(records: readonly unknown[]): { path: number[]; message: string }[] {
  const wrong = [...records.entries()].filter(([, record]) => !isObject(record)).map(([index]) => index);
  const issues = wrong.slice(0, INLINE_ISSUES_MAX).map((index) => ({ path: [index], message: 'must be an object' }));
  const more = wrong.length - issues.length;
  if (more > 0) issues.push({ path: [], message: `${more} more records are not objects` });
  const bytes = Buffer.byteLength(JSON.stringify(records));
  if (bytes > INLINE_BYTES_MAX) {
    const message = `must be at most ${INLINE_BYTES_MAX} bytes of JSON, not ${bytes}: use a jsonl or csv file`;
    issues.push({ path: [], message });
  }
  return issues;
}

function jobIssues(raw: RawObject, { cronSchedule }: RunFacts): Issue[] {
  if (!cronSchedule || raw['jobId'] !== undefined) return [];
  const message = 'is required with cronSchedule: every tick would be the same job; better, use a Schedule';
  return [{ path: 'jobId', message }];
}

function resultsIssues(raw: RawObject): Issue[] {
  const { source, results } = raw;
  if (!isObject(source) || !isObject(results) || typeof results['path'] !== 'string') return [];
  return source['path'] === results['path'] ? [{ path: 'results.path', message: 'must not be the source itself' }] : [];
}

function callIssues(call: unknown, key: Key): Issue[] {
  if (!isObject(call)) return [];
  const { endpoint, params, activity } = call;
  if (endpoint !== undefined && activity !== undefined) {
    return [{ path: 'call', message: 'must have either endpoint or activity, not both' }];
  }
  if (endpoint === undefined && activity === undefined) {
    return [{ path: 'call', message: 'must have an endpoint ("POST /v1/payment_intents") or an activity' }];
  }
  if (activity !== undefined && params !== undefined) {
    return [{ path: 'call.params', message: 'goes with endpoint only: an activity gets the whole record' }];
  }
  const wrongParams = isObject(params) || Array.isArray(params) ? paramIssues(params, 'call.params', 0) : [];
  if (typeof endpoint !== 'string') return wrongParams;
  const wrong = endpointIssues(endpoint);
  return [...(wrong.length > 0 ? wrong : routeIssues(endpoint, key)), ...wrongParams, ...listIssues(call, key)];
}

function endpointIssues(endpoint: string): Issue[] {
  const path = 'call.endpoint';
  const template = parseTemplate(endpoint);
  if (!template.ok) return [{ path, message: template.reason }];
  const shape = shapeOf(endpoint);
  if (shape === undefined || /[?#\s\p{Cc}\p{Surrogate}]/u.test(shape.target) || shape.method.includes(FIELD)) {
    return [
      { path, message: 'must be a method, one space and a path without ?, # or spaces; parameters go into params' },
    ];
  }
  const { segments } = shape;
  if (segments.some((segment) => segment === '' || segment === '.' || segment === '..')) {
    return [{ path, message: 'must have no empty, "." or ".." segment' }];
  }
  const named = segments.find(
    (segment) => segment !== ACCOUNT_SEGMENT && /^:|[{}]/.test(segment.replaceAll(FIELD, '')),
  );
  if (named === undefined) return [];
  const account = /AccountSid/i.test(named) ? ` (${ACCOUNT_SEGMENT} is the account of the key)` : '';
  return [{ path, message: `must say which field fills ${named}, such as {{id}}${account}` }];
}

/** Is there such a route, and does the key allow it? */
function routeIssues(endpoint: string, { allowed, view }: Key): Issue[] {
  const path = 'call.endpoint';
  const shape = shapeOf(endpoint);
  if (shape === undefined) return [];
  const route = view && routeOf(view, shape);
  if (view !== undefined && route === undefined) return [{ path, message: noRoute(view, endpoint) }];
  const covered =
    route === undefined
      ? allowed.some((entry) => covers(entry, shape))
      : allowed.some((entry) => view && routeNamed(view, entry) === route);
  if (covered || allowed.length === 0) return [];
  const name = route === undefined ? 'it' : `"${route.endpoint}"`;
  return [{ path, message: `would be refused: add ${name} to key.allowedEndpoints` }];
}

function noRoute(view: VendorView, endpoint: string): string {
  const nearest = nearestRoute(view, endpoint);
  return `is no route of ${view.vendor}${nearest === undefined ? '' : `; the nearest is "${nearest}"`}`;
}

/** Parameters that are a list make a body in JSON only. */
function listIssues({ endpoint, params }: RawObject, { view }: Key): Issue[] {
  if (!Array.isArray(params)) return [];
  const shape = typeof endpoint === 'string' ? shapeOf(endpoint) : undefined;
  const isJson = view !== undefined && shape !== undefined && routeOf(view, shape)?.body === 'json';
  return isJson ? [] : [{ path: 'call.params', message: 'must be an object of the parameters' }];
}

/** Does an allowlist entry such as `POST /v1/payment_intents/:id/capture` cover the call? */
function covers(entry: string, { method, segments }: EndpointShape): boolean {
  const [routeMethod, path = ''] = entry.split(' ');
  const wanted = path.split('/').slice(1);
  if (routeMethod !== method || wanted.length !== segments.length) return false;
  return wanted.every((name, index) => name.startsWith(':') || name === segments[index]);
}

/** What the key may be for, by the proxy's list. */
function keyIssues(raw: unknown, vendors: readonly VendorView[], { view, allowed }: Key): Issue[] {
  if (!isObject(raw) || typeof raw['vendor'] !== 'string') return [];
  if (view === undefined) {
    return [{ path: 'key.vendor', message: `must be one of: ${vendors.map(({ vendor }) => vendor).join(', ')}` }];
  }
  const unknown = [...allowed.entries()]
    .filter(([, entry]) => routeNamed(view, entry) === undefined)
    .map(([index, entry]) => ({ path: `key.allowedEndpoints[${index}]`, message: noRoute(view, entry) }));
  return [...accountIssues(raw, view), ...unknown];
}

function accountIssues({ account, parentKeyId }: RawObject, { vendor, accounts }: VendorView): Issue[] {
  if (account === undefined && parentKeyId !== undefined) return [];
  if (accounts.length === 0) return [{ path: 'key.vendor', message: `the proxy has no account of ${vendor}` }];
  if (accounts.some((name) => name === (account ?? vendor))) return [];
  const what = account === undefined ? 'is required' : `is no account of ${vendor}`;
  return [{ path: 'key.account', message: `${what}; the proxy has: ${accounts.join(', ')}` }];
}

function paramIssues(value: unknown, path: string, depth: number): Issue[] {
  if (depth > PARAMS_DEPTH_MAX) return [{ path, message: `must be nested at most ${PARAMS_DEPTH_MAX} deep` }];
  if (typeof value === 'string') return textIssues(value, path);
  if (typeof value === 'number') {
    return isExact(value) ? [] : [{ path, message: 'must be a finite number, exact as a double' }];
  }
  if (Array.isArray(value)) return value.flatMap((item, index) => paramIssues(item, `${path}[${index}]`, depth + 1));
  if (isObject(value)) {
    return Object.entries(value).flatMap(([name, item]) => {
      const field = `${path}.${name}`;
      return /^$|[[\]{}]/.test(name)
        ? [{ path: field, message: 'must be named without brackets and braces: nest objects and lists' }]
        : [...textIssues(name, field), ...paramIssues(item, field, depth + 1)];
    });
  }
  return value === null || typeof value === 'boolean' ? [] : [{ path, message: 'must be plain JSON' }];
}

function textIssues(text: string, path: string): Issue[] {
  if (/\p{Surrogate}/u.test(text)) return [{ path, message: 'must be valid Unicode' }];
  const template = parseTemplate(text);
  return template.ok ? [] : [{ path, message: template.reason }];
}

type RawObject = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is RawObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function keyIn(raw: RawObject, vendors: readonly VendorView[] = []): Key {
  const key = raw['key'];
  const { vendor, allowedEndpoints: allowed } = isObject(key) ? key : {};
  // A list that is itself wrong says nothing about the call.
  const readable = Array.isArray(allowed) && allowed.every((entry) => typeof entry === 'string' && / \//.test(entry));
  const list = (readable ? allowed : []) as readonly string[];
  return { allowed: list, view: vendors.find((known) => known.vendor === vendor) };
}
