/** Retention as an operator meets it: the control plane, the command, and vendor calls before and after. */
import { callsSql, keysSql, oldSql, type Sql } from '../proxy/stores/listings';
import { loadDriver } from '../proxy/stores/sqlite/driver';
import { openSqlite } from '../proxy/stores/sqlite';
import type { CallQuery } from '../proxy/stores/store';
import { CALL_STATES } from '../proxy/contract';
import { nothingPruned, PRUNED_KINDS } from '../proxy/retention';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keybrake } from './support/cli';
import { ADMIN, apiError, BODY, type Control, startControl, WORKER } from './support/control';
import { balanced, books, startRig } from './support/rig';

const DAY_MS = 86_400_000;

afterEach(() => jest.restoreAllMocks());

describe('DELETE /vault/calls', () => {
  let control: Control;
  beforeEach(async () => (control = await startControl()));
  afterEach(() => control.close());

  /** Three calls of a dead key that ended two days ago, of which two may go; and those of a live one. */
  async function old(): Promise<void> {
    const ended_at = Date.now() - 2 * DAY_MS;
    const { key_id: dead } = await control.admin.issueKey({ ...BODY, agent_run_label: 'dead' });
    const { key_id: live } = await control.admin.issueKey({ ...BODY, agent_run_label: 'live' });
    for (const key of [dead, live]) {
      await control.putCalls(key, [
        { state: 'refused', ended_at, created_at: ended_at },
        { state: 'released', ended_at, created_at: ended_at },
        { state: 'settled', ended_at, created_at: ended_at, scope: 'taken' },
      ]);
    }
    await control.admin.revokeKey(dead, 'over');
  }
  const kept = async (label: string) => (await control.admin.listCalls({ label })).items.map(({ state }) => state);

  it('answers what it removed, and writes an event with the actor; a dry run does neither', async () => {
    await old();
    control.events.length = 0;
    const counts = { ...nothingPruned(), refused: 1, released: 1 };
    const dry = await control.admin.pruneCalls({ older_than: '1d', dry_run: true });
    expect(dry).toEqual({
      ended_before: expect.stringMatching(/^\d{4}-.*Z$/),
      dry_run: true,
      removed: counts,
      kept_for_live_keys: 2,
      next_cursor: null,
    });
    expect([await kept('dead'), control.events]).toEqual([['settled', 'released', 'refused'], []]);

    const done = await control.admin.pruneCalls({ older_than: '1d' });
    expect(done).toEqual({ ...dry, ended_before: expect.any(String), dry_run: false });
    expect([await kept('dead'), await kept('live')]).toEqual([['settled'], ['settled', 'released', 'refused']]);
    expect(control.events).toMatchObject([
      { kind: 'audit.pruned', actor: 'admin', data: { refused: 1 } },
      { kind: 'audit.pruned', actor: 'admin', data: { released: 1 } },
    ]);
    expect((await control.admin.pruneCalls({ older_than: '3d' })).kept_for_live_keys).toBe(0);
  });

  it('is for operators, and takes no age below a day, no misspelt filter and no cursor of its own making', async () => {
    expect(await apiError(control.worker.pruneCalls({ older_than: '90d' }))).toMatchObject({ code: 'forbidden' });
    expect((await control.ask('/vault/calls?older_than=90d', { method: 'DELETE', key: WORKER })).status).toBe(403);
    for (const query of [
      '',
      'older_than=23h',
      'older_than=300000y',
      'older_than=86400',
      'older_than=-9d',
      'older_than=90d&label=x',
      'older_than=90d&dry_run=yes',
      'older_than=90d&cursor=keys:key_1',
      "older_than=90d&cursor=refused:'",
      'older_than=90d&cursor=events:call_1',
    ]) {
      expect([query, (await control.ask(`/vault/calls?${query}`, { method: 'DELETE' })).status]).toEqual([query, 400]);
    }
    for (const cursor of [...PRUNED_KINDS.map((kind) => `${kind}:`), 'events:12', 'refusal_counters:key_1/cap']) {
      expect((await control.admin.pruneCalls({ older_than: '90d', cursor })).next_cursor).toBeNull();
    }
  });

  it('keybrake audit prune counts first, then removes, and says what stays', async () => {
    await old();
    const env = { KEYBRAKE_URL: control.url, KEYBRAKE_API_KEY: ADMIN };
    const cli = (...args: string[]) => keybrake(['audit', 'prune', ...args], { env });
    const dry = await cli('--older-than', '1d', '--dry-run');
    expect(dry).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Would be removed, of what ended before 2/) });
    expect(dry.stdout).toMatch(/1 +refused calls\n +1 +released calls\n2 rows stay, because their key/);
    expect(await kept('dead')).toHaveLength(3);
    const json = await cli('--older-than', '1d', '--json');
    expect(JSON.parse(json.stdout)).toMatchObject({ dry_run: false, removed: { refused: 1, released: 1 } });
    expect(await kept('dead')).toEqual(['settled']);
    expect((await cli('--older-than', '1d')).stdout).toMatch(
      /^Nothing that ended before .* may be removed\.\n2 rows stay/,
    );
    for (const age of ['2h', '90', 'soon']) {
      const wrong = await cli('--older-than', age);
      expect(wrong).toMatchObject({ code: 1, stderr: expect.stringMatching(/--older-than <age>.*at least a day/) });
    }
    // It would seem to remove the calls of one label only.
    const narrowed = await cli('--older-than', '90d', '--label', 'dead');
    expect(narrowed).toMatchObject({ code: 1, stderr: expect.stringContaining("unknown option '--label'") });
    expect((await cli('--help')).stdout).toMatch(/prevent a\s+second charge/);
    const listed = await keybrake(['audit', '--json', '--label', 'dead'], { env });
    expect(listed.stdout.trim().split('\n')).toHaveLength(1);
  });
});

test('after a prune a repeat of an executed call is still no second charge: refused, replayed, or already executed', async () => {
  const rig = await startRig();
  try {
    const job_id = 'billing';
    const first = await rig.issue({ usd_cap: 6, job_id, expires_in: '2h' });
    expect((await rig.call(first.vault_key, { key: 'r1' })).status).toBe(200);
    expect((await rig.call(first.vault_key, { key: 'r1' })).headers['idempotent-replayed']).toBe('true');
    expect((await rig.call(first.vault_key, { key: 'r2' })).code).toBe('cap_exhausted');
    await rig.client.revokeKey(first.key_id, 'over');

    const clockBack = await rig.proxy.passTime(2 * DAY_MS);
    const totals = await rig.client.getJob(job_id);
    const { removed } = await rig.client.pruneCalls({ older_than: '1d' });
    expect(removed).toMatchObject({ refused: 1, replayed: 1, released: 0, settled: 0, refusal_counters: 1 });
    expect((await rig.client.listCalls({ job_id })).items).toMatchObject([
      { state: 'settled', vendor_id: expect.stringMatching(/^pi_/) },
    ]);
    expect(await rig.client.getJob(job_id)).toEqual(totals);

    const [executed] = (await rig.client.listCalls({ job_id })).items;
    const dead = await rig.call(first.vault_key, { key: 'r1' });
    expect(dead).toMatchObject({
      code: 'key_revoked',
      json: { error: { keybrake: { prior_call: { state: 'settled' } } } },
    });
    const next = await rig.issue({ job_id, usd_cap: 6, expires_in: '2h' });
    const again = await rig.call(next.vault_key, { key: 'r1' });
    expect([again.status, again.headers['idempotent-replayed']]).toEqual([200, 'true']);
    expect(again.json.id).toBe(executed?.vendor_id);
    clockBack();
    expect(await books(rig, first.key_id)).toEqual(balanced(1, 5));
  } finally {
    await rig.close();
  }
});

test('no listing, and no page of retention, reads a table from end to end', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'keybrake-plans-'));
  await openSqlite(join(folder, 'ledger.db')).close();
  const db = new (loadDriver())(join(folder, 'ledger.db'));
  const planOf = ({ sql, values }: Sql) =>
    (db.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...values) as { detail: string }[]).map(({ detail }) => detail);
  const calls = (query: Partial<CallQuery>, order: CallQuery['order'] = 'newest') => {
    return planOf(callsSql({ order, limit: 101, after: 'call_1', ...query })).join('\n');
  };
  const filters: readonly [Partial<CallQuery>, RegExp][] = [
    [{ label: 'l' }, /SEARCH keys USING COVERING INDEX keys_by_label[^]*SEARCH c USING INDEX calls_by_key/],
    [{ job_id: 'j' }, /SEARCH keys USING COVERING INDEX keys_by_job[^]*SEARCH c USING INDEX calls_by_key/],
    [{ key_id: 'k' }, /SEARCH c USING INDEX calls_by_key/],
    [{ key_id: 'k', state: 'refused' }, /c USING INDEX calls_over_by_key \(key_id=\? AND state=\? AND call_id[<>]\?\)/],
    [
      { job_id: 'j', state: 'replayed' },
      /c USING INDEX calls_over_by_key \(key_id=\? AND state=\? AND call_id[<>]\?\)/,
    ],
    [{ label: 'l', state: 'released' }, /c USING INDEX calls_over_by_key \(key_id=\? AND state=\? AND call_id[<>]\?\)/],
    [{ record_id: 'r', state: 'refused' }, /SEARCH c USING INDEX calls_by_record/],
    [{ record_id: 'r' }, /SEARCH c USING INDEX calls_by_record/],
    [{ record_id: 'r', job_id: 'j' }, /SEARCH c USING INDEX calls_by_record/],
    [{ vendor_id: 'v' }, /SEARCH c USING INDEX calls_by_vendor_id/],
    ...CALL_STATES.map((state): [Partial<CallQuery>, RegExp] => {
      if (state === 'settled') return [{ state }, /SEARCH c USING INDEX sqlite_autoindex_calls_1 \(call_id[<>]\?\)/];
      const index = state === 'held' || state === 'unknown' ? 'calls_open' : 'calls_over';
      return [{ state }, new RegExp(`SEARCH c USING INDEX ${index} \\(state=\\? AND call_id[<>]\\?\\)`)];
    }),
  ];
  for (const [query, index] of filters) {
    for (const order of ['newest', 'oldest'] as const) {
      expect(calls(query, order)).toMatch(index);
      expect(calls(query, order)).not.toMatch(/SCAN/);
    }
  }
  for (const query of [{ label: 'l' }, { job_id: 'j' }]) {
    expect(planOf(keysSql({ ...query, limit: 9 })).join('\n')).toMatch(/SEARCH keys USING INDEX keys_by_/);
  }
  for (const kind of PRUNED_KINDS) {
    const plan = planOf(oldSql({ kind, now: 1, limit: 9 }));
    expect([kind, plan.filter((step) => /SCAN/.test(step) && step !== 'SCAN page')]).toEqual([kind, []]);
    expect([kind, plan.filter((step) => /TEMP B-TREE/.test(step))]).toEqual([kind, []]);
  }
  db.close();
  rmSync(folder, { recursive: true });
});
