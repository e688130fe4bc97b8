import { parse } from 'csv-parse/sync';
import { outcomeOf } from '../activities/outcome';
import type { KeyView, Page } from '../proxy/contract';
import { streamCalls } from '../proxy/control/calls';
import { csvLine } from '../proxy/control/csv';
import { newId } from '../proxy/ids';
import type { Outcome } from '../proxy/ledger/finish';
import { StoreError } from '../proxy/stores/store';
import { apiError, BODY, type Control, startControl, WORKER } from './support/control';

const USD = 1_000_000;
const unknown: Outcome = { state: 'unknown', httpStatus: null, code: 'outcome_unknown' };
const settled = (micros: number): Outcome => ({
  state: 'settled',
  httpStatus: 200,
  code: null,
  spend: { micros, out: false, vendorId: 'pi_1' },
  answer: null,
});

let control: Control;
beforeEach(async () => (control = await startControl()));
afterEach(async () => {
  jest.restoreAllMocks();
  await control.close();
});

async function textOf(chunks: AsyncIterable<Buffer>): Promise<string> {
  let text = '';
  for await (const chunk of chunks) text += String(chunk);
  return text;
}

describe('the list of keys', () => {
  it('is newest first, in pages that together give every key once', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i += 1) ids.push((await control.admin.issueKey({ ...BODY, usd_cap: i })).key_id);
    const pages: string[][] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const page: Page<KeyView> = await control.admin.listKeys({ limit: 2, ...(cursor !== '' && { cursor }) });
      pages.push(page.items.map((key) => key.key_id));
      cursor = page.next_cursor;
    }
    expect(pages.map((page) => page.length)).toEqual([2, 2, 1]);
    expect(pages.flat()).toEqual(ids.toReversed());
  });

  it('a filter by state fills the page from further back, and sees death through a key above', async () => {
    const parent = await control.admin.issueKey(BODY);
    const child = await control.admin.issueKey({ ...BODY, parent_key_id: parent.key_id });
    const alive = await control.admin.issueKey({ ...BODY, agent_run_label: 'other' });
    await control.admin.revokeKey(parent.key_id, 'over');
    const revoked = await control.admin.listKeys({ state: 'revoked', limit: 2 });
    expect(revoked).toMatchObject({ items: [{ key_id: child.key_id }, { key_id: parent.key_id }], next_cursor: null });
    expect((await control.admin.listKeys({ state: 'active' })).items).toMatchObject([{ key_id: alive.key_id }]);
    expect((await control.admin.listKeys({ label: 'other' })).items).toHaveLength(1);
    expect(JSON.stringify(revoked)).not.toContain('vault_key');
  });

  it('refuses unknown filters and odd limits', async () => {
    for (const query of [
      'labl=x',
      'limit=0',
      'limit=1001',
      'limit=ten',
      'state=dead',
      'label=',
      'state=active&state=x',
    ]) {
      expect([query, (await control.ask(`/vault/keys?${query}`)).status]).toEqual([query, 400]);
    }
    const named = (await (await control.ask('/vault/calls?recordid=1')).json()) as { error: { issues: unknown } };
    expect(named.error.issues).toEqual([{ path: 'recordid', message: 'unknown field; did you mean record_id?' }]);
  });
});

describe('the audit log', () => {
  it('pages newest first as JSON, filters, and shows a worker only calls of keys issued by a worker', async () => {
    const { key_id: key } = await control.admin.issueKey({ ...BODY, job_id: 'job' });
    const { key_id: own } = await control.worker.issueKey(BODY);
    await control.putCalls(key, [{ record_id: 'a' }, { record_id: 'b', vendor_id: 'pi_9', state: 'released' }]);
    await control.putCalls(own, [{ record_id: 'c' }]);
    const first = await control.admin.listCalls({ limit: 2 });
    expect(first.items.map((call) => call.record_id)).toEqual(['c', 'b']);
    const rest = await control.admin.listCalls({ limit: 2, cursor: first.next_cursor! });
    expect([rest.items.map((call) => call.record_id), rest.next_cursor]).toEqual([['a'], null]);
    expect(rest.items[0]).toMatchObject({ agent_run_label: BODY.agent_run_label, quote_usd: 1.5, cost_usd: 1.5 });
    expect(rest.items[0]).not.toHaveProperty('answer');
    expect((await control.admin.listCalls({ job_id: 'job', state: 'released' })).items).toHaveLength(1);
    expect((await control.admin.listCalls({ vendor_id: 'pi_9' })).items).toMatchObject([{ record_id: 'b' }]);
    expect((await control.worker.listCalls()).items).toMatchObject([{ record_id: 'c' }]);
    expect((await control.worker.listCalls({ key_id: key })).items).toEqual([]);
    const streamed = await textOf(await control.worker.exportCalls({}, 'application/x-ndjson'));
    expect(streamed.trim().split('\n')).toHaveLength(1);
  });

  it('streams every call as NDJSON, oldest first, across pages', async () => {
    const { key_id: key } = await control.admin.issueKey(BODY);
    const ids = Array.from({ length: 2_500 }, () => newId('call'));
    await control.putCalls(
      key,
      ids.map((call_id) => ({ call_id })),
    );
    const seen: string[] = [];
    for await (const call of control.admin.streamCalls({ key_id: key })) seen.push(call.call_id);
    expect(seen).toEqual(ids);
    const some: string[] = [];
    for await (const call of control.admin.streamCalls({ cursor: ids[999]!, limit: 3 })) some.push(call.call_id);
    expect(some).toEqual(ids.slice(1_000, 1_003));
  });

  it('reads a page only when its reader has taken the one before', async () => {
    const { key_id: key } = await control.admin.issueKey(BODY);
    await control.putCalls(
      key,
      Array.from({ length: 3_000 }, () => ({})),
    );
    const asked = jest.spyOn(control.ledger.store, 'listCalls');
    const reader = streamCalls(control.ledger.store, 'admin', {}, 'application/x-ndjson').getReader();
    await new Promise(setImmediate);
    expect(asked).toHaveBeenCalledTimes(0);
    await reader.read();
    await new Promise(setImmediate);
    expect(asked).toHaveBeenCalledTimes(1);
    await reader.cancel();
    await new Promise(setImmediate);
    expect(asked).toHaveBeenCalledTimes(1);
  });

  it('a store that fails in the middle breaks the stream off, so that it does not look whole', async () => {
    const { key_id: key } = await control.admin.issueKey(BODY);
    await control.putCalls(
      key,
      Array.from({ length: 1_500 }, () => ({})),
    );
    const real = control.ledger.store.listCalls.bind(control.ledger.store);
    jest.spyOn(console, 'error').mockImplementation();
    const listed = jest.spyOn(control.ledger.store, 'listCalls');
    listed.mockImplementationOnce(real).mockRejectedValueOnce(new StoreError('gone'));
    await expect(textOf(await control.admin.exportCalls({}, 'application/x-ndjson'))).rejects.toThrow(
      /other side closed|terminated/,
    );
  });

  it('writes CSV that a reader gets back whole and that no spreadsheet runs', async () => {
    const { key_id: key } = await control.admin.issueKey(BODY);
    const odd = ['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', 'plain, "quoted"', 'two\nlines', 'ünïcode'];
    await control.putCalls(
      key,
      odd.map((record_id) => ({ record_id, cost_micros: -2_500_000 })),
    );
    const answer = await control.ask('/vault/calls', { headers: { accept: 'text/csv' } });
    expect(answer.headers.get('content-type')).toBe('text/csv; charset=utf-8');
    const rows: Record<string, string>[] = parse(await answer.text(), { columns: true });
    expect(rows.map((row) => row['record_id'])).toEqual([
      "'=1+1",
      "'+1",
      "'-1",
      "'@SUM(A1)",
      "'\t=1",
      'plain, "quoted"',
      'two\nlines',
      'ünïcode',
    ]);
    expect(rows[0]).toMatchObject({ cost_usd: '-2.5', vendor: 'stripe', idempotency_key: '' });
    expect(csvLine(['\r=1', null, 3])).toBe('"\'\r=1",,3\r\n');
  });

  it('lets no formula begin after a semicolon or with a wide sign, and leaves all else as it is', () => {
    const cellOf = (text: string): unknown => parse(csvLine([text]))[0]?.[0];
    const formulas = [
      ['a;=HYPERLINK("http://x.example","y")', `a;'=HYPERLINK("http://x.example","y")`],
      ['a; \t-1;b', "a; \t'-1;b"],
      ['a\t@SUM(A1)', "a\t'@SUM(A1)"],
      ['a;"=1+1"', `a;"'=1+1"`],
      ['two\n=1+1', "two\n'=1+1"],
      ['=1;+1', "'=1;'+1"],
      ['＝1+1', "'＝1+1"],
      ['a;＠SUM(A1)', "a;'＠SUM(A1)"],
      [' =1+1', "' =1+1"],
    ] as const;
    for (const [text, safe] of formulas) expect(cellOf(text)).toBe(safe);
    for (const text of ['a=b;c-d', 'a;b=1', 'x＝1', 'card-declined@x', '"; "']) expect(cellOf(text)).toBe(text);
  });

  it('an empty CSV still has its header row', async () => {
    const text = await textOf(await control.admin.exportCalls({ record_id: 'none' }, 'text/csv'));
    expect(text).toMatch(/^call_id,state,key_id,.*,created_at,ended_at,stuck_at\r\n$/);
    expect(await textOf(await control.admin.exportCalls({ record_id: 'none' }, 'application/x-ndjson'))).toBe('');
  });
});

describe('the summary of a label', () => {
  it('counts every dollar once, also with keys below keys and keys that are dead', async () => {
    const first = await control.admin.issueKey({ ...BODY, job_id: 'job' });
    const child = await control.admin.issueKey({ ...BODY, parent_key_id: first.key_id });
    const second = await control.worker.issueKey({ ...BODY, job_id: 'job' });
    await control.spend(child.key_id, 10 * USD, settled(10 * USD));
    await control.spend(second.key_id, 5 * USD, unknown);
    await control.admin.revokeKey(first.key_id, 'over');
    expect(await control.admin.summary(BODY.agent_run_label)).toMatchObject({
      label: BODY.agent_run_label,
      keys: { active: 1, exhausted: 0, revoked: 2, expired: 0 },
      spend: { settled_usd: 10, unknown_usd: 5, remaining_usd: 85, calls: { settled: 1, unknown: 1, held: 0 } },
    });
    expect(await control.worker.summary(BODY.agent_run_label)).toMatchObject({
      keys: { active: 1, revoked: 0 },
      spend: { settled_usd: 0, unknown_usd: 5 },
    });
    expect((await control.admin.summary('nothing')).keys).toEqual({ active: 0, exhausted: 0, revoked: 0, expired: 0 });
  });
});

describe("an operator's word", () => {
  const dead = { epoch: 'a former process' };

  it('settles an unknown call: state and totals move together, once', async () => {
    const { key_id: key } = await control.admin.issueKey(BODY);
    const call = await control.spend(key, 12 * USD, unknown, dead);
    const word = { outcome: 'settled', usd: 11.5, vendor_id: 'pi_7' } as const;
    const view = await control.admin.resolveCall(call, word);
    expect(view).toMatchObject({ state: 'settled', cost_usd: 11.5, vendor_id: 'pi_7', ended_at: expect.any(String) });
    const { spend } = await control.admin.getKey(key);
    expect(spend).toMatchObject({ settled_usd: 11.5, out_usd: 0, unknown_usd: 0, calls: { settled: 1, unknown: 0 } });
    expect((await apiError(control.admin.resolveCall(call, word))).status).toBe(409);
    expect(control.events.at(-1)).toMatchObject({ kind: 'call.settled', actor: 'admin', call_id: call });
    expect((await apiError(control.admin.resolveCall('call_none', word))).status).toBe(404);
  });

  it('settles with money what came back as a 402 that nobody could read: its record has succeeded, not been declined', async () => {
    const { key_id: key } = await control.admin.issueKey(BODY);
    const call = await control.spend(key, 12 * USD, { ...unknown, httpStatus: 402 }, dead);
    const view = await control.admin.resolveCall(call, { outcome: 'settled', usd: 12 });
    expect(view).toMatchObject({ state: 'settled', http_status: null, code: null });
    expect(outcomeOf([view], { keyId: key, offset: 0 })).toEqual({ outcome: 'succeeded' });
    const free = await control.spend(key, 12 * USD, { ...unknown, httpStatus: 402 }, dead);
    const declined = await control.admin.resolveCall(free, { outcome: 'settled', usd: 0 });
    expect(outcomeOf([declined], { keyId: key, offset: 0 }).outcome).toBe('declined');
  });

  it('releases an unknown call and gives its money back', async () => {
    const { key_id: key } = await control.admin.issueKey(BODY);
    const call = await control.spend(key, 12 * USD, unknown, dead);
    expect(await control.admin.resolveCall(call, { outcome: 'released' })).toMatchObject({ state: 'released' });
    expect((await control.admin.getKey(key)).spend).toMatchObject({ unknown_usd: 0, remaining_usd: 100 });
  });

  it('a refund that is settled counts as money out', async () => {
    const { key_id: key } = await control.admin.issueKey(BODY);
    const call = await control.spend(key, 12 * USD, unknown, { ...dead, route: 'POST /v1/refunds' });
    await control.admin.resolveCall(call, { outcome: 'settled', usd: 12 });
    expect((await control.admin.getKey(key)).spend).toMatchObject({ settled_usd: 12, out_usd: 12 });
  });

  it('is refused while the call may still be under way', async () => {
    const { key_id: key } = await control.admin.issueKey(BODY);
    const now = Date.now();
    const live = { epoch: 'epoch_now' };
    const early = await control.spend(key, 1 * USD, unknown, { ...live, send_by: now - 29_000 });
    const held = await control.spend(key, 1 * USD, undefined, dead);
    for (const call of [early, held]) {
      const refused = await apiError(control.admin.resolveCall(call, { outcome: 'released' }));
      expect(refused).toMatchObject({ status: 409, code: 'conflict' });
    }
    expect((await control.admin.getKey(key)).spend).toMatchObject({ unknown_usd: 1, held_usd: 1 });
    const late = await control.spend(key, 1 * USD, unknown, { ...live, send_by: now - 30_001 });
    expect((await control.admin.resolveCall(late, { outcome: 'released' })).state).toBe('released');
  });

  it('refuses a word that says two things', async () => {
    const both = await control.post('/vault/calls/call_1/resolve', { outcome: 'released', usd: 3 });
    expect(both.status).toBe(400);
    expect((await control.post('/vault/calls/call_1/resolve', { outcome: 'settled' })).status).toBe(400);
    expect((await control.post('/vault/calls/call_1/resolve', { outcome: 'settled' }, WORKER)).status).toBe(403);
  });
});
