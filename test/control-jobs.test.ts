/** A job that a key below another one began, without a cap of its own. */
import { apiError, BODY, type Control, startControl } from './support/control';

let control: Control;
beforeEach(async () => (control = await startControl()));
afterEach(() => control.close());

const { usd_cap: _, vendor: __, ...UNCAPPED } = BODY;

test('a job without a cap takes no key without a key above it, until the job is given its cap', async () => {
  const parent = await control.admin.issueKey({ ...BODY, usd_cap: 1_000 });
  const below = { ...UNCAPPED, parent_key_id: parent.key_id, job_id: 'J' };
  await control.admin.issueKey(below);
  for (const caps of [{ usd_cap: 100 }, { daily_usd_cap: 100 }]) {
    const refused = await apiError(control.admin.issueKey({ ...UNCAPPED, vendor: 'stripe', ...caps, job_id: 'J' }));
    expect(refused).toMatchObject({ status: 400, issues: [{ path: 'usd_cap' }] });
    expect(JSON.stringify(refused.issues)).toContain('PATCH /vault/jobs/J');
  }
  expect((await control.admin.issueKey(below)).state).toBe('active');

  await control.admin.patchJob('J', { usd_cap: 100 });
  const keys = await Promise.all([1, 2].map(() => control.admin.issueKey({ ...BODY, job_id: 'J' })));
  await control.spend(keys[0]!.key_id, 60_000_000);
  expect((await control.admin.getKey(keys[1]!.key_id)).spend.remaining_usd).toBe(40);
});
