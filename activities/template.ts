/** `{{field}}` in the parameters and the path of a call: parsed at validation, filled in for each record. */
import { strict as assert } from 'node:assert';
import { fieldOf, scalarText, type SourceRecord } from './fields';
import type { Params, PlannedCall } from './contract/plan';

export type TemplatePart = string | { readonly field: string };
export type Template =
  { readonly ok: true; readonly parts: readonly TemplatePart[] } | { readonly ok: false; readonly reason: string };

/** Why a record cannot be sent: the field, never its value. */
export interface Unfilled {
  readonly ok: false;
  readonly field: string;
  readonly reason: string;
}

export type EndpointCall = Extract<PlannedCall, { kind: 'endpoint' }>;
export type RenderedParams = { readonly ok: true; readonly params: Params } | Unfilled;
export type RenderedPath = { readonly ok: true; readonly path: string } | Unfilled;
export type RenderedCall =
  | { readonly ok: true; readonly method: EndpointCall['method']; readonly path: string; readonly params: Params }
  | Unfilled;

/** The vendor call of one record: method, path and parameters. */
export function renderCall(call: EndpointCall, record: SourceRecord): RenderedCall {
  const path = renderPath(call.path, record);
  if (!path.ok) return path;
  const params = renderParams(call.params, record);
  if (!params.ok) return params;
  return { ok: true, method: call.method, path: path.path, params: params.params };
}

/**
 * Fills in the parameters. A value that is one `{{field}}` and nothing else keeps the record's scalar as it is;
 * within other text it is joined as text.
 */
export function renderParams(params: Params, record: SourceRecord): RenderedParams {
  try {
    return { ok: true, params: fill(params, record) as Params };
  } catch (error) {
    if (error instanceof UnfilledField) return { ok: false, field: error.field, reason: error.message };
    throw error;
  }
}

/** Fills in a path. Each value is percent-encoded and stays within its segment. */
export function renderPath(path: string, record: SourceRecord): RenderedPath {
  const parts = partsOf(path);
  let rendered = '';
  let field = '';
  for (const part of parts) {
    if (typeof part === 'string') {
      rendered += part;
      continue;
    }
    field = part.field;
    const value = scalarText(fieldOf(record, field));
    if (!value.ok) return { ok: false, field, reason: value.reason };
    if (value.text.trim() === '') return { ok: false, field, reason: 'is empty' };
    rendered += encodeURIComponent(value.text);
  }
  const odd = rendered.split('/').some((segment) => segment === '.' || segment === '..');
  return odd ? { ok: false, field, reason: 'would lead to another path' } : { ok: true, path: rendered };
}

/** `{AccountSid}`, and not the field `{{AccountSid}}`. */
const ACCOUNT = /(?<!\{)\{AccountSid\}(?!\})/g;

/** The account of a Twilio key in place of `{AccountSid}`, so that nobody needs to know it. */
export function withAccount(text: string, accountId: string | null): string {
  return accountId === null ? text : text.replaceAll(ACCOUNT, accountId);
}

/** A call with {@link withAccount} done wherever it says so; what a record fills in later is left alone. */
export function withAccountIn(call: EndpointCall, accountId: string | null): EndpointCall {
  const placed = (value: unknown): unknown => {
    if (typeof value === 'string') return withAccount(value, accountId);
    if (Array.isArray(value)) return value.map(placed);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, placed(inner)]));
  };
  return { ...call, path: withAccount(call.path, accountId), params: placed(call.params) as Params };
}

/** Reads a text with `{{field}}` in it. */
export function parseTemplate(text: string): Template {
  const parts: TemplatePart[] = [];
  let rest = text;
  while (rest !== '') {
    const open = rest.indexOf('{{');
    const literal = open === -1 ? rest : rest.slice(0, open);
    if (literal.includes('}}')) return { ok: false, reason: 'has }} without {{ before it' };
    if (literal !== '') parts.push(literal);
    if (open === -1) break;
    const close = rest.indexOf('}}', open + 2);
    if (close === -1) return { ok: false, reason: 'has {{ without }} after it' };
    const field = rest.slice(open + 2, close).trim();
    if (field === '' || /[{}]/.test(field) || rest[close + 2] === '}') {
      return { ok: false, reason: 'must name one field between {{ and }}' };
    }
    parts.push({ field });
    rest = rest.slice(close + 2);
  }
  return { ok: true, parts };
}

/** Every `{{field}}` in a value, with where it stands: `params.metadata.run`. Unreadable templates are left out. */
export function fieldsIn(value: unknown, path: string): readonly { readonly path: string; readonly field: string }[] {
  if (typeof value === 'string') {
    const template = parseTemplate(value);
    if (!template.ok) return [];
    return template.parts.flatMap((part) => (typeof part === 'string' ? [] : [{ path, field: part.field }]));
  }
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, item]) => fieldsIn(item, `${path}.${name}`));
}

class UnfilledField extends Error {
  readonly field: string;

  constructor(field: string, reason: string) {
    super(reason);
    this.field = field;
  }
}

function fill(value: unknown, record: SourceRecord): unknown {
  if (typeof value === 'string') return fillText(value, record);
  if (Array.isArray(value)) return value.map((item) => fill(item, record));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, fill(item, record)]));
}

function fillText(text: string, record: SourceRecord): unknown {
  const parts = partsOf(text);
  const [only] = parts;
  if (parts.length === 1 && only !== undefined && typeof only !== 'string') {
    const value = fieldOf(record, only.field);
    requireText(value, only.field);
    return value;
  }
  return parts
    .map((part) => (typeof part === 'string' ? part : requireText(fieldOf(record, part.field), part.field)))
    .join('');
}

function requireText(value: unknown, field: string): string {
  const text = scalarText(value);
  if (!text.ok) throw new UnfilledField(field, text.reason);
  return text.text;
}

const KNOWN_MAX = 1_000;
/** Of the texts that were met last: those of a run are the same for each of its records. */
const known = new Map<string, readonly TemplatePart[]>();

/** The templates of a plan were parsed at validation. */
function partsOf(text: string): readonly TemplatePart[] {
  const parts = known.get(text);
  if (parts !== undefined) return parts;
  const template = parseTemplate(text);
  assert(template.ok, 'A plan holds only readable templates.');
  if (known.size >= KNOWN_MAX) known.clear();
  known.set(text, template.parts);
  return template.parts;
}
