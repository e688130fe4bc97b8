/** The raw input: every wrong field is named, in one go, and nothing of its value is repeated. */
import { ApplicationFailure } from '@temporalio/common';
import * as fc from 'fast-check';
import { FAILURES } from '../activities/codes';
import { parseInput, type RunFacts } from '../activities/input';
import { activityIdFor, idempotencyKey, issueKeyFor, jobIdFor } from '../activities/recordKeys';
import type { Issue } from '../proxy/contract';

const FACTS: RunFacts = { workflowId: 'billing', firstExecutionRunId: 'run-1' };
const ENDPOINT = 'POST /v1/payment_intents';

interface Raw {
  [field: string]: unknown;
  call: Record<string, unknown>;
  key: Record<string, unknown>;
}

function valid(): Raw {
  return {
    label: 'billing/2026-11-24',
    source: { kind: 'jsonl', path: 'customers.jsonl' },
    recordId: 'id',
    call: { endpoint: ENDPOINT, params: { amount: '{{amount_cents}}', currency: 'usd', customer: '{{id}}' } },
    key: { vendor: 'stripe', usdCap: 500, allowedEndpoints: [ENDPOINT], ttl: '4h' },
  };
}

/** A valid input with one field set; `undefined` removes it. */
function withField(path: string, value: unknown): Raw {
  const input = valid();
  const steps = path.split('.');
  const last = steps.pop()!;
  let target: Record<string, unknown> = input;
  for (const step of steps) target = (target[step] ??= {}) as Record<string, unknown>;
  if (value === undefined) delete target[last];
  else target[last] = value;
  return input;
}

function failureOf(raw: unknown, facts: RunFacts = FACTS): ApplicationFailure {
  try {
    parseInput(raw, facts);
  } catch (error) {
    if (error instanceof ApplicationFailure) return error;
    throw error;
  }
  throw new Error('The input was taken.');
}

function issuesOf(raw: unknown, facts: RunFacts = FACTS): readonly Issue[] {
  const failure = failureOf(raw, facts);
  expect(failure).toMatchObject({ type: 'keybrake.invalid_input', nonRetryable: true });
  const { issues } = failure.details![0] as { issues: Issue[] };
  for (const { path, message } of issues) expect(failure.message).toContain(`\n${path || 'input'}: ${message}`);
  return issues;
}

describe('a valid input', () => {
  test('is normalised: durations in milliseconds, defaults filled in', () => {
    expect(parseInput(valid(), FACTS)).toEqual({
      label: 'billing/2026-11-24',
      jobId: 'billing/run-1',
      source: { kind: 'jsonl', path: 'customers.jsonl' },
      recordId: 'id',
      call: {
        kind: 'endpoint',
        method: 'POST',
        path: '/v1/payment_intents',
        params: { amount: '{{amount_cents}}', currency: 'usd', customer: '{{id}}' },
      },
      key: { vendor: 'stripe', usdCap: 500, allowedEndpoints: [ENDPOINT], ttlMs: 14_400_000, leaseMs: 600_000 },
      concurrency: 50,
      recordsPerActivity: 1,
      onCapExhausted: 'cancel',
      retry: [],
      results: null,
    });
  });

  test('survives the trip through JSON unchanged', () => {
    const draft = parseInput({ ...valid(), results: { path: 'out/results.ndjson' }, retry: ['declined'] }, FACTS);
    expect(JSON.parse(JSON.stringify(draft))).toEqual(draft);
  });

  test.each([
    ['key.ttl', 90, { ttlMs: 90_000, leaseMs: 90_000 }],
    ['key.ttl', '90 minutes', { ttlMs: 5_400_000 }],
    ['key.lease', '30s', { leaseMs: 30_000 }],
    ['key.usdCap', 0.000001, { usdCap: 0.000001 }],
    ['key.fx', { EUR: 1.2 }, { fx: { eur: 1.2 } }],
    ['key.parentKeyId', 'key_1', { parentKeyId: 'key_1' }],
  ])('takes %s %j', (path, value, expected) => {
    expect(parseInput(withField(path, value), FACTS).key).toMatchObject(expected);
  });

  test('takes a path with a field in it when the allowlist has the route', () => {
    const raw = valid();
    raw.call = { endpoint: 'POST /v1/payment_intents/{{ pi }}/capture' };
    raw.key['allowedEndpoints'] = ['POST /v1/payment_intents/:id/capture'];
    expect(parseInput(raw, FACTS).call).toMatchObject({ path: '/v1/payment_intents/{{pi}}/capture', params: {} });
  });

  test('takes a call and a source of the user’s own activities', () => {
    const raw = { ...valid(), call: { activity: 'charge' }, source: { kind: 'activity', activity: 'readCustomers' } };
    expect(parseInput(raw, FACTS)).toMatchObject({
      call: { kind: 'activity', activity: 'charge' },
      source: { kind: 'activity', activity: 'readCustomers', args: null },
    });
  });

  test('a workflow id that is too long for a job id is hashed, always to the same', () => {
    const facts = { ...FACTS, workflowId: 'w'.repeat(900) };
    expect(parseInput(valid(), facts).jobId).toMatch(/^job_[0-9a-f]{64}$/);
    expect(parseInput(valid(), facts).jobId).toBe(parseInput(valid(), facts).jobId);
  });
});

function titleOf(value: unknown): string {
  return (JSON.stringify(value) ?? 'absent').slice(0, 60);
}

describe('a wrong input is refused, naming the field', () => {
  test.each([undefined, null, 'a text', 7, [], [valid()], true])('input %#: not an object', (raw) => {
    expect(issuesOf(raw)).toEqual([{ path: '', message: expect.stringContaining('must be an object') }]);
  });

  // prettier-ignore
  const cases: [string, unknown, RegExp, string?][] = [
    ['label', undefined, /required/],
    ['label', '', /1 to 200/],
    ['label', 'two\nlines', /control/],
    ['label', 'x'.repeat(201), /1 to 200/],
    ['jobId', '', /1 to 200/],
    ['jobId', 'a\u0000b', /control/],
    ['jobId', null, /must be a job id/],
    ['source', undefined, /required: must be .*jsonl, csv, inline, activity/],
    ['source', 'customers.jsonl', /jsonl, csv, inline, activity/],
    ['source', { kind: 'xml' }, /jsonl, csv, inline, activity/, 'source.kind'],
    ['source.path', undefined, /required/],
    ['source.path', '../secrets', /inside/],
    ['source.path', '/etc/passwd', /relative/],
    ['source', { kind: 'inline', records: [{ id: 1 }, 7] }, /object/, 'source.records[1]'],
    ['source', { kind: 'inline', records: [{ id: 'x'.repeat(1_000_001) }] }, /jsonl or csv/, 'source.records'],
    ['source', { kind: 'activity', activity: 'keybrake.page' }, /belong to the pack/, 'source.activity'],
    ['recordId', undefined, /required/],
    ['recordId', 7, /record id/],
    ['call', undefined, /required/],
    ['call', {}, /must have an endpoint/],
    ['call', { endpoint: ENDPOINT, activity: 'charge' }, /not both/],
    ['call', { activity: 'charge', params: {} }, /endpoint only/, 'call.params'],
    ['call.endpoint', 'POST /v1/refunds', /would be refused: add it/],
    ['call.endpoint', 'HEAD /v1/payment_intents', /"GET/],
    ['call.endpoint', 'POST /v1/payment_intents?amount=1', /without \?/],
    ['call.endpoint', 'POST /v1//payment_intents', /segment/],
    ['call.endpoint', 'POST /v1/payment_intents/:id/capture', /fills :id/],
    ['call.endpoint', 'POST /v1/{{id', /without }}/],
    ['call.params.amount', '{{amount', /without }}/],
    ['call.params.amount', 'amount}}', /without {{/],
    ['call.params.amount', '{{}}', /one field/],
    ['call.params.amount', Number.MAX_SAFE_INTEGER + 1, /exact/],
    ['call.params.metadata', { deep: { text: '{{{id}}}' } }, /one field/, 'call.params.metadata.deep.text'],
    ['call.params.expand[]', 'x', /brackets/],
    ['key', undefined, /required/],
    ['key.vendor', 'PayPal Inc', /stripe/],
    ['key.usdCap', undefined, /required: must be US dollars/],
    ['key.usdCap', 0, /above 0/],
    ['key.usdCap', '500', /number/],
    ['key.usdCap', 0.1234567, /six decimals/],
    ['key.usdCap', 1e9 + 1, /1000000000/],
    ['key.usdCap', Number.NaN, /number/],
    ['key.maxUsdPerCall', -1, /above 0/],
    ['key.dailyUsdCap', 0, /above 0/],
    ['key.allowedEndpoints', [], /at least one/],
    ['key.allowedEndpoints', ['/v1/payment_intents'], /method and a path/, 'key.allowedEndpoints[0]'],
    ['key.allowedEndpoints', ENDPOINT, /list/],
    ['key.ttl', undefined, /required: must be a duration/],
    ['key.ttl', '4', /duration/],
    ['key.ttl', 'soon', /duration/],
    ['key.ttl', '-4h', /duration/],
    ['key.ttl', 0, /duration/],
    ['key.ttl', '9000 years', /duration/],
    ['key.lease', 'x', /duration/],
    ['key.parentKeyId', 'vk_live_secret', /key id/],
    ['key.fx', { euro: 1.2 }, /three letters/, 'key.fx.euro'],
    ['key.fx', { eur: 0 }, /above 0/, 'key.fx.eur'],
    ['key.metadata', { run: 7 }, /text/, 'key.metadata.run'],
    ['concurrency', 0, /1 to 2000/],
    ['concurrency', 2001, /1 to 2000/],
    ['concurrency', 1.5, /whole/],
    ['recordsPerActivity', 1001, /1 to 1000/],
    ['onCapExhausted', 'stop', /"cancel" or "pause"/],
    ['retry', ['failed'], /"declined"/, 'retry[0]'],
    ['results', 'results.ndjson', /path/],
    ['results', { path: 'customers.jsonl' }, /source itself/, 'results.path'],
    ['results', { path: 'a/../../b' }, /inside/, 'results.path'],
  ];
  const rows = cases.map(([path, value, says, at = path]) => ({ path, value, says, at, title: titleOf(value) }));
  test.each(rows)('$path = $title', ({ path, value, says, at }) => {
    expect(issuesOf(withField(path, value))).toEqual([{ path: at, message: expect.stringMatching(says) }]);
  });

  // prettier-ignore
  test.each([
    ['key.usdcap', 'key.usdcap', 'usdCap'],
    ['key.usd_cap', 'key.usd_cap', 'usdCap'],
    ['key.allowedEndpoint', 'key.allowedEndpoint', 'allowedEndpoints'],
    ['lable', 'lable', 'label'],
    ['concurency', 'concurency', 'concurrency'],
    ['usdCap', 'usdCap', 'key.usdCap'],
    ['ttl', 'ttl', 'key.ttl'],
    ['call.endPoint', 'call.endPoint', 'endpoint'],
  ])('a misspelt %s names %s and suggests %s', (path, at, meant) => {
    expect(issuesOf(withField(path, 1))).toEqual([{ path: at, message: `unknown field; did you mean ${meant}?` }]);
  });

  test('a field that resembles none is told without a suggestion, and one of another kind as such', () => {
    expect(issuesOf(withField('zebra', 1))).toEqual([{ path: 'zebra', message: 'unknown field' }]);
    const [issue] = issuesOf(withField('source.records', []));
    expect(issue).toEqual({ path: 'source.records', message: 'does not belong to this kind' });
  });

  test('every wrong field is listed, across the checks of one field and of several', () => {
    const raw = {
      label: 7,
      source: { kind: 'csv' },
      call: { endpoint: 'POST /v1/x' },
      key: { allowedEndpoints: ['POST /y'] },
    };
    const paths = issuesOf(raw).map(({ path }) => path);
    expect(paths.toSorted()).toEqual(
      ['call.endpoint', 'key.ttl', 'key.usdCap', 'key.vendor', 'label', 'recordId', 'source.path'].toSorted(),
    );
  });

  test('a cron schedule needs a job id, since all its ticks share the first run id', () => {
    const facts = { ...FACTS, cronSchedule: '0 6 * * *' };
    expect(issuesOf(valid(), facts)).toEqual([{ path: 'jobId', message: expect.stringContaining('cronSchedule') }]);
    expect(parseInput({ ...valid(), jobId: 'billing' }, facts).jobId).toBe('billing');
  });

  test('values are never repeated', () => {
    const raw = withField('key.parentKeyId', 'vk_live_SECRET');
    raw.key['vendor'] = 'SECRET';
    raw['label'] = 'SECRET\n';
    expect(failureOf(raw).message).not.toContain('SECRET');
  });

  test('whatever comes in, the failure is the one that is not retried', () => {
    fc.assert(
      fc.property(fc.anything({ withNullPrototype: true }), (raw) => {
        expect(failureOf(raw)).toMatchObject({ type: 'keybrake.invalid_input', nonRetryable: true });
      }),
    );
    fc.assert(
      fc.property(fc.constantFrom(...Object.keys(valid())), fc.jsonValue(), (name, value) => {
        let type: unknown = FAILURES.invalidInput;
        try {
          parseInput({ ...valid(), [name]: value }, FACTS);
        } catch (error) {
          ({ type } = error as ApplicationFailure);
        }
        expect(type).toBe(FAILURES.invalidInput);
      }),
    );
  });
});

describe('keys of a record', () => {
  test('the idempotency key tells job and record apart, whatever they hold', () => {
    expect(idempotencyKey('job', 'cus_1')).toBe('job:cus_1');
    expect(idempotencyKey('a:b', 'c')).not.toBe(idempotencyKey('a', 'b:c'));
    expect(idempotencyKey('job', 'cus_1', 'sms')).toBe('job:cus_1:sms');
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme', maxLength: 300 }), (job, record) => {
        const key = idempotencyKey(job, record);
        expect(key).toMatch(/^[!-~]{1,255}$/);
        expect(key).toBe(idempotencyKey(job, record));
      }),
    );
  });

  test('an idempotency key of 255 characters stays, one of 256 is hashed', () => {
    expect(idempotencyKey('j', 'r'.repeat(253))).toBe(`j:${'r'.repeat(253)}`);
    expect(idempotencyKey('j', 'r'.repeat(254))).toMatch(/^kb1_[0-9a-f]{64}$/);
  });

  test.each(['é', ' x', 'x ', 'a\nb', 'x'.repeat(201), `rec_${'0'.repeat(64)}`])('the record id %j is hashed', (id) => {
    expect(activityIdFor(id)).toMatch(/^rec_[0-9a-f]{64}$/);
    expect(activityIdFor(id)).not.toBe(id);
  });

  test('an issue key that a header holds stays as it is, any other is hashed', () => {
    for (const identity of ['issue/default/x/1', `issue/${'x'.repeat(249)}`, 'issue/default/août/1'])
      expect(issueKeyFor(identity)).toBe(identity);
    for (const identity of [`issue/${'x'.repeat(250)}`, 'issue/請求/1', 'issue/a\tb', 'issue/1 ', 'issue/\u0085/1'])
      expect(issueKeyFor(identity)).toMatch(/^issue_[0-9a-f]{64}$/);
  });

  test('a default job id that the proxy takes stays as it is, any other is hashed', () => {
    for (const ids of ['x'.repeat(200), '請求/1']) expect(jobIdFor(ids)).toBe(ids);
    for (const ids of ['x'.repeat(201), '💸'.repeat(101), 'a\nb', 'a\u2028b', 'a\ud800'])
      expect(jobIdFor(ids)).toMatch(/^job_[0-9a-f]{64}$/);
  });

  test('an ordinary record id is its own activity id', () => {
    expect(activityIdFor('cus 1/2:3')).toBe('cus 1/2:3');
  });
});
