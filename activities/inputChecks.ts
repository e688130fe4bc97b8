/**
 * Checks of the input that concern several fields, or what zod cannot say. They read the raw input, so that they are
 * reported together with the wrong fields of the schema; a field that is itself wrong is left to the schema.
 */
import type { Issue } from '../proxy/contract';
import { isExact } from './fields';
import type { RunFacts } from './input';
import { parseTemplate } from './template';

/** Inline records are carried in the history, where a payload must stay below Temporal's 2 MB. */
export const INLINE_BYTES_MAX = 1_000_000;
const INLINE_ISSUES_MAX = 20;
const PARAMS_DEPTH_MAX = 10;

/** What is wrong between the fields of the input. */
export function crossIssues(raw: unknown, facts: RunFacts): Issue[] {
  if (!isObject(raw)) return [];
  return [...jobIssues(raw, facts), ...callIssues(raw['call'], allowedIn(raw)), ...resultsIssues(raw)];
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

function callIssues(call: unknown, allowed: readonly string[]): Issue[] {
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
  const wrongParams = isObject(params) ? paramIssues(params, 'call.params', 0) : [];
  return [...(typeof endpoint === 'string' ? endpointIssues(endpoint, allowed) : []), ...wrongParams];
}

/** In the path, a template stands for one segment or a part of it. */
const PLACEHOLDER = '{{}}';

function endpointIssues(endpoint: string, allowed: readonly string[]): Issue[] {
  const path = 'call.endpoint';
  const template = parseTemplate(endpoint);
  if (!template.ok) return [{ path, message: template.reason }];
  const shape = template.parts.map((part) => (typeof part === 'string' ? part : PLACEHOLDER)).join('');
  const [method = '', target = '', ...rest] = shape.split(' ');
  const segments = target.split('/').slice(1);
  if (rest.length > 0 || /[?#\s\p{Cc}\p{Surrogate}]/u.test(target) || method.includes(PLACEHOLDER)) {
    return [
      { path, message: 'must be a method, one space and a path without ?, # or spaces; parameters go into params' },
    ];
  }
  if (segments.some((segment) => segment === '' || segment === '.' || segment === '..')) {
    return [{ path, message: 'must have no empty, "." or ".." segment' }];
  }
  const named = segments.find((segment) => segment.startsWith(':'));
  if (named !== undefined) return [{ path, message: `must say which field fills ${named}, such as {{id}}` }];
  if (allowed.length === 0 || allowed.some((route) => covers(route, method, segments))) return [];
  return [{ path, message: 'would be refused: add it to key.allowedEndpoints' }];
}

/** Does an allowlist entry such as `POST /v1/payment_intents/:id/capture` cover the call? */
function covers(route: string, method: string, segments: readonly string[]): boolean {
  const [routeMethod, path = ''] = route.split(' ');
  const wanted = path.split('/').slice(1);
  if (routeMethod !== method || wanted.length !== segments.length) return false;
  return wanted.every((name, index) => name.startsWith(':') || name === segments[index]);
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

function allowedIn(raw: RawObject): readonly string[] {
  const key = raw['key'];
  const allowed = isObject(key) ? key['allowedEndpoints'] : undefined;
  // A list that is itself wrong says nothing about the call.
  const readable = Array.isArray(allowed) && allowed.every((route) => typeof route === 'string' && / \//.test(route));
  return readable ? allowed : [];
}
