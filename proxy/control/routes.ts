/** The calls of the control plane as OpenAPI knows them. `app.ts` says what each does. */
import { createRoute, z } from '@hono/zod-openapi';
import { CONTROL_ERRORS, type ControlErrorCode, REFUSALS } from '../contract';
import {
  callsQuery,
  driftQuery,
  issueHeaders,
  issueKeyBody,
  keysQuery,
  patchJobBody,
  patchKeyBody,
  pruneQuery,
  resolveBody,
  revokeQuery,
  summaryQuery,
} from './schemas';
import {
  callPage,
  callView,
  driftLine,
  errorBody,
  health,
  issuedKey,
  jobView,
  keyPage,
  keyView,
  pruneView,
  revokedKey,
  summaryView,
  vendorList,
} from './viewSchemas';

const json = <T extends z.ZodType>(schema: T) => ({ 'application/json': { schema } });
const answers = <T extends z.ZodType>(schema: T, description: string) => ({ description, content: json(schema) });
const body = <T extends z.ZodType>(schema: T) => ({ content: json(schema), required: true });

const security = [{ bearer: [] }];
const keyParams = z.object({ key_id: z.string() });
const jobParams = z.object({ job_id: z.string() });
const callParams = z.object({ call_id: z.string() });

const DESCRIPTIONS: Readonly<Record<ControlErrorCode, string>> = {
  invalid_request: 'A field is wrong, unknown or missing: `issues` lists all of them.',
  unauthenticated: 'No key, or a wrong one.',
  forbidden: 'The worker role may not do this.',
  not_found: 'There is no such thing.',
  method_not_allowed: 'The path is there, and takes other methods: `Allow` names them.',
  conflict: 'The state of the key, job or call does not allow it.',
  payload_too_large: 'The body is too large.',
  internal: 'A fault of the proxy.',
  store_unavailable: 'The ledger cannot be read or written now.',
};

const failure = (code: ControlErrorCode) => answers(errorBody, DESCRIPTIONS[code]);
const common = {
  400: failure('invalid_request'),
  401: failure('unauthenticated'),
  403: failure('forbidden'),
  503: failure('store_unavailable'),
};
const ofOne = { ...common, 404: failure('not_found') };
const changing = { ...ofOne, 409: failure('conflict'), 413: failure('payload_too_large') };

export const issueRoute = createRoute({
  method: 'post',
  path: '/vault/keys',
  operationId: 'issueKey',
  summary: 'Issue a vault key',
  security,
  request: { headers: issueHeaders, body: body(issueKeyBody) },
  responses: {
    201: answers(issuedKey, 'The key, with every field as understood.'),
    ...common,
    409: failure('conflict'),
    413: failure('payload_too_large'),
  },
});

export const listKeysRoute = createRoute({
  method: 'get',
  path: '/vault/keys',
  operationId: 'listKeys',
  summary: 'List keys, newest first (admin)',
  security,
  request: { query: keysQuery },
  responses: { 200: answers(keyPage, 'A page of keys.'), ...common },
});

export const getKeyRoute = createRoute({
  method: 'get',
  path: '/vault/keys/{key_id}',
  operationId: 'getKey',
  summary: 'A key with its state and spend',
  security,
  request: { params: keyParams },
  responses: { 200: answers(keyView, 'The key.'), ...ofOne },
});

export const patchKeyRoute = createRoute({
  method: 'patch',
  path: '/vault/keys/{key_id}',
  operationId: 'patchKey',
  summary: 'Change the cap of a key, or move its expiry later',
  security,
  request: { params: keyParams, body: body(patchKeyBody) },
  responses: { 200: answers(keyView, 'The key as it is now.'), ...changing },
});

export const revokeRoute = createRoute({
  method: 'delete',
  path: '/vault/keys/{key_id}',
  operationId: 'revokeKey',
  summary: 'Revoke a key and all keys below it; idempotent',
  security,
  request: { params: keyParams, query: revokeQuery },
  responses: { 200: answers(revokedKey, 'No call with the key leaves any more.'), ...ofOne },
});

export const renewRoute = createRoute({
  method: 'post',
  path: '/vault/keys/{key_id}/renew',
  operationId: 'renewKey',
  summary: 'Extend the lease of a key',
  security,
  request: { params: keyParams },
  responses: { 200: answers(keyView, 'The key as it is now.'), ...changing },
});

export const tokenRoute = createRoute({
  method: 'post',
  path: '/vault/keys/{key_id}/token',
  operationId: 'tokenFor',
  summary: 'The vault key again, for a worker that holds only the key id',
  security,
  request: { params: keyParams },
  responses: { 201: answers(issuedKey, 'The key with its vault key.'), ...changing },
});

export const getJobRoute = createRoute({
  method: 'get',
  path: '/vault/jobs/{job_id}',
  operationId: 'getJob',
  summary: 'Spend and counts over all keys of a job',
  security,
  request: { params: jobParams },
  responses: { 200: answers(jobView, 'The job.'), ...ofOne },
});

export const patchJobRoute = createRoute({
  method: 'patch',
  path: '/vault/jobs/{job_id}',
  operationId: 'patchJob',
  summary: 'Change the cap of a job, also when no key of it is alive',
  security,
  request: { params: jobParams, body: body(patchJobBody) },
  responses: { 200: answers(jobView, 'The job as it is now.'), ...changing },
});

export const vendorsRoute = createRoute({
  method: 'get',
  path: '/vault/vendors',
  operationId: 'listVendors',
  summary: 'The vendors, their accounts and the routes that a key may name',
  security,
  responses: { 200: answers(vendorList, 'Every vendor.'), ...common },
});

export const listCallsRoute = createRoute({
  method: 'get',
  path: '/vault/calls',
  operationId: 'listCalls',
  summary: 'The audit log: JSON by pages, newest first; NDJSON and CSV stream all, oldest first',
  security,
  request: { query: callsQuery },
  responses: {
    200: {
      description: 'Calls.',
      content: {
        ...json(callPage),
        'application/x-ndjson': { schema: z.string().openapi({ description: 'One CallView a line.' }) },
        'text/csv': { schema: z.string().openapi({ description: 'A header row, then one call a row.' }) },
      },
    },
    ...common,
  },
});

export const pruneRoute = createRoute({
  method: 'delete',
  path: '/vault/calls',
  operationId: 'pruneCalls',
  summary: 'Remove old audit rows that no second charge depends on (admin)',
  security,
  request: { query: pruneQuery },
  responses: { 200: answers(pruneView, 'What was removed, and where to go on.'), ...common },
});

export const resolveRoute = createRoute({
  method: 'post',
  path: '/vault/calls/{call_id}/resolve',
  operationId: 'resolveCall',
  summary: "An operator's word on an unknown call (admin)",
  security,
  request: { params: callParams, body: body(resolveBody) },
  responses: { 200: answers(callView, 'The call as it is now.'), ...changing },
});

export const summaryRoute = createRoute({
  method: 'get',
  path: '/vault/summary',
  operationId: 'summary',
  summary: 'Spend and counts of a run label, across its keys',
  security,
  request: { query: summaryQuery },
  responses: { 200: answers(summaryView, 'The summary.'), ...common },
});

export const driftRoute = createRoute({
  method: 'get',
  path: '/vault/drift',
  operationId: 'drift',
  summary: "The vendor's own total for a run against the ledger's (admin): NDJSON, what differs, totals, then the end",
  security,
  request: { query: driftQuery },
  responses: {
    200: {
      description: 'Lines; an answer whose last line is not `end` was broken off.',
      content: { 'application/x-ndjson': { schema: driftLine } },
    },
    ...common,
  },
});

export const healthRoute = createRoute({
  method: 'get',
  path: '/healthz',
  operationId: 'health',
  summary: 'Is the process alive?',
  responses: { 200: answers(health, 'It is.') },
});

export const readyRoute = createRoute({
  method: 'get',
  path: '/readyz',
  operationId: 'ready',
  summary: 'Can the ledger be written, and does the proxy take calls?',
  responses: { 200: answers(health, 'Yes.'), 503: failure('store_unavailable') },
});

export const metricsRoute = createRoute({
  method: 'get',
  path: '/metrics',
  operationId: 'metrics',
  summary: 'Metrics for Prometheus',
  responses: { 200: { description: 'Prometheus text format.', content: { 'text/plain': { schema: z.string() } } } },
});

const refusals = Object.entries(REFUSALS).map(
  ([code, { status, retry, meaning }]) => `| \`${code}\` | ${status} | ${retry ? 'yes' : 'no'} | ${meaning} |`,
);

/** What stands above the paths in `/openapi.json`. */
export const DOCUMENT = {
  openapi: '3.1.0',
  info: {
    title: 'keybrake control plane',
    version: '1',
    description: [
      'Issue, inspect and revoke vault keys. Money is in US dollars with at most six decimals.',
      `Errors are \`{"error":{"code","message","issues"}}\` with one of ${Object.keys(CONTROL_ERRORS).join(', ')}.`,
      '',
      "**Data plane.** Vendor calls go to `/{vendor}/…` (`/stripe/v1/payment_intents`), by the vendor's own SDK, with",
      "the vault key in place of the vendor's secret. They answer as the vendor does; a refusal has the vendor's error",
      'shape and one of these codes:',
      '',
      '| code | status | may a retry succeed? | meaning |',
      '|---|---|---|---|',
      ...refusals,
    ].join('\n'),
  },
};
