/** Parameters as each vendor's API takes them: Stripe's nested form, Twilio's plain one, JSON. */
import { strict as assert } from 'node:assert';
import type { BodyKind } from '../proxy/endpoints';
import type { Params } from './contract/plan';
import { scalarText } from './fields';

/** What goes on the wire beside method and path. */
export interface Encoded {
  /** Without its `?`. */
  readonly query?: string;
  readonly body?: { readonly text: string; readonly contentType: string };
}

const FORM = 'application/x-www-form-urlencoded';

/** A GET has its parameters in the query; everything else in its body, of which there is none without parameters. */
export function encodeParams(kind: BodyKind, method: string, params: Params): Encoded {
  const form = kind === 'flat' ? toFlatForm(params) : toForm(params);
  if (method === 'GET') return form === '' ? {} : { query: form };
  if (kind === 'json') {
    const text = JSON.stringify(params);
    return text === '{}' || text === '[]' ? {} : { body: { text, contentType: 'application/json' } };
  }
  return form === '' && method !== 'POST' ? {} : { body: { text: form, contentType: FORM } };
}

/** Nested parameters as Stripe's form: `metadata[run]=1&expand[0]=latest_charge`; null is an empty value. */
export function toForm(params: Params): string {
  const pairs: string[] = [];
  for (const [name, value] of Object.entries(params)) addPairs(pairs, name, value);
  return pairs.join('&');
}

/** As twilio-node writes them: a list repeats its name, an object is its JSON (`ContentVariables`). */
function toFlatForm(params: Params): string {
  return Object.entries(params)
    .flatMap(([name, value]) => (Array.isArray(value) ? value : [value]).map((item: unknown) => [name, item] as const))
    .map(([name, item]) => `${encodeURIComponent(name)}=${encodeURIComponent(flatText(item))}`)
    .join('&');
}

function flatText(value: unknown): string {
  if (typeof value === 'object' && value !== null) return JSON.stringify(value);
  return value === null ? '' : textOf(value);
}

function addPairs(pairs: string[], name: string, value: unknown): void {
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) addPairs(pairs, `${name}[${index}]`, item);
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) addPairs(pairs, `${name}[${key}]`, item);
  } else if (value !== undefined) {
    pairs.push(`${encodeName(name)}=${encodeURIComponent(value === null ? '' : textOf(value))}`);
  }
}

function textOf(value: unknown): string {
  const text = scalarText(value);
  assert(text.ok, 'A parameter is not plain JSON.');
  return text.text;
}

/** Brackets stay readable, as Stripe's own libraries write them. */
function encodeName(name: string): string {
  return encodeURIComponent(name).replaceAll('%5B', '[').replaceAll('%5D', ']');
}
