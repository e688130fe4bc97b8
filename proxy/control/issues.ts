/** What is wrong with a request, field by field. Values, which may be secret, are not repeated. */
import type { z } from '@hono/zod-openapi';
import { ControlError, type Issue } from '../contract';
import { nearestName } from '../nearest';

const ISSUES_MAX = 100;
const NAME_CHARS_MAX = 100;

/** Fields that the message names; the issues name them all. */
const FIELDS_NAMED_MAX = 5;

export function invalidRequest(issues: readonly Issue[]): ControlError {
  const fields = [...new Set(issues.map(({ path }) => path))].filter((path) => path !== '');
  const named = fields.slice(0, FIELDS_NAMED_MAX).join(', ');
  const more = fields.length > FIELDS_NAMED_MAX ? ` and ${fields.length - FIELDS_NAMED_MAX} more` : '';
  const message =
    named === '' ? (issues[0]?.message ?? 'The request is wrong.') : `Wrong in the request: ${named}${more}.`;
  return new ControlError('invalid_request', message, issues);
}

/** The issues of a request that a schema refused; every unknown field is one of its own. */
export function issuesOf(error: z.ZodError): readonly Issue[] {
  return error.issues
    .flatMap((issue) => {
      const path = issue.path.map(String).join('.');
      // Of a name in a record, zod says only that it is invalid.
      const said = issue.code === 'invalid_key' ? (issue.issues[0] ?? issue) : issue;
      if (issue.code !== 'unrecognized_keys') return [{ path, message: said.message }];
      const messages = issue.message.split('\n');
      return messages.map((message, i) => ({ path: joined(path, issue.keys[i] ?? ''), message }));
    })
    .slice(0, ISSUES_MAX);
}

/** The fields of a body that a schema had nothing against, so that they can be checked further. */
export function rightFields(body: unknown, error: z.ZodError): Readonly<Record<string, unknown>> {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return {};
  const wrong = new Set(error.issues.flatMap(rootsOf));
  return Object.fromEntries(Object.entries(body).filter(([field]) => !wrong.has(field)));
}

function rootsOf(issue: z.core.$ZodIssue): readonly string[] {
  return issue.code === 'unrecognized_keys' && issue.path.length === 0 ? issue.keys : [String(issue.path[0])];
}

function joined(path: string, field: string): string {
  const name = field.slice(0, NAME_CHARS_MAX);
  return path === '' ? name : `${path}.${name}`;
}

/** One line for each unknown field: with the known name that it most likely means, or with all there are. */
export function unknownFields(unknown: readonly string[], known: readonly string[]): string {
  return unknown
    .slice(0, ISSUES_MAX)
    .map((field) => {
      const nearest = nearestName(field, known);
      return nearest === undefined
        ? `unknown field; known are ${known.join(', ')}`
        : `unknown field; did you mean ${nearest}?`;
    })
    .join('\n');
}
