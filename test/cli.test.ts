import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CallView, IssuedKey, KeyView } from '../proxy/contract';
import type { RunStatusView } from '../workflows/definitions';
import type { RunReport } from '../activities/contract/plan';
import { keybrake, start } from './support/cli';
import { useCliStack } from './support/cliStack';

const ENDPOINT = 'POST /v1/payment_intents';
const PARAMS = ['amount={{amount_cents}}', 'currency=usd', 'customer={{id}}', 'confirm=true'];

const at = useCliStack();

/** Runs a command against the stack. */
function cli(...args: string[]) {
  return keybrake(args, { env: at.env, cwd: at.folder });
}

/** A source of `count` customers at $2.50 each. */
function customers(name: string, count: number): string {
  const lines = Array.from({ length: count }, (_, i) => JSON.stringify({ id: `cus_${name}_${i}`, amount_cents: 250 }));
  writeFileSync(join(at.folder, `${name}.jsonl`), lines.join('\n'));
  return `${name}.jsonl`;
}

function runFlags(source: string, capUsd: number): string[] {
  return [
    '--source',
    source,
    '--endpoint',
    ENDPOINT,
    '--cap',
    String(capUsd),
    ...PARAMS.flatMap((p) => ['--param', p]),
  ];
}

const COMMANDS = 'dev proxy worker sandbox run status revoke pause resume raise keys audit resolve doctor'.split(' ');

test('help names every command, and every command has help', async () => {
  const { code, stdout } = await cli('--help');
  expect(code).toBe(0);
  for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^  ${command}\\b`, 'm'));
  const helps = await Promise.all(COMMANDS.map((command) => cli(command, '--help')));
  for (const help of helps) expect(help).toMatchObject({ code: 0, stdout: expect.stringContaining('Usage: keybrake') });
});

test('a mistyped command, and a wrong value of a flag, are told in one line', async () => {
  expect((await cli('stauts')).stderr).toMatch(/Did you mean status\?/);
  const wrong = await cli('keys', 'issue', '--label', 'x', '--ttl', '1h', '--allow', ENDPOINT, '--cap', 'lots');
  expect(wrong).toMatchObject({ code: 1, stderr: expect.stringMatching(/--cap <usd>.*US dollars, e\.g\. 500/) });
});

test('errors have no stack trace, unless KEYBRAKE_DEBUG=1, and name the way out', async () => {
  const nowhere = { KEYBRAKE_URL: 'http://127.0.0.1:9', KEYBRAKE_API_KEY: at.stack.apiKey };
  const { code, stderr } = await keybrake(['keys'], { env: nowhere });
  expect(code).toBe(1);
  expect(stderr).toMatch(/No answer from the proxy at http:\/\/127\.0\.0\.1:9.*\n.*keybrake proxy/);
  expect(stderr).not.toMatch(/^\s+at /m);
  const debug = await keybrake(['keys'], { env: { ...nowhere, KEYBRAKE_DEBUG: '1' } });
  expect(debug.stderr).toMatch(/^\s+at /m);
  const refused = await keybrake(['keys'], { env: { ...at.env, KEYBRAKE_API_KEY: 'kb_admin_wrong_wrong_wrong' } });
  expect(refused.stderr).toMatch(/must be the one that the proxy was started with/);
  expect(refused.stderr).toContain('as Authorization: Bearer KEYBRAKE_API_KEY or KEYBRAKE_WORKER_KEY.');
  expect(refused.stderr).not.toContain('wrong_wrong');
});

test('keys: issued once on stdout, listed, shown, raised and revoked', async () => {
  const issue = ['keys', 'issue', '--label', 'cli/keys', '--ttl', '1h', '--cap', '20', '--allow', ENDPOINT];
  const issued = await cli(...issue);
  expect(issued.stdout).toMatch(/^vk_\w+\n$/);
  expect(issued.stderr).toMatch(/cap +\$20\.00/);
  const { key_id: keyId } = JSON.parse((await cli(...issue, '--json')).stdout) as IssuedKey;

  const list = await cli('keys', '--label', 'cli/keys');
  expect(list.stdout.split('\n')[0]).toMatch(/^KEY +STATE +SETTLED +HELD +UNKNOWN +CAP +EXPIRES +LABEL$/);
  expect(list.stdout).toContain(keyId);
  expect((JSON.parse((await cli('keys', 'list', '--label', 'cli/keys', '--json')).stdout) as KeyView[]).length).toBe(2);

  expect((await cli('raise', keyId, '--to', '30')).stdout).toMatch(/cap +\$30\.00/);
  expect((await cli('revoke', keyId, '--reason', 'tested')).stdout).toMatch(
    /is revoked: no call with it leaves any more/,
  );
  expect((await cli('keys', 'show', keyId)).stdout).toMatch(/revoked \(tested\)/);
  expect((await cli('status', keyId, '--json')).stdout).toContain('"state": "revoked"');
  expect((await cli('keys', 'show', 'key_nothing')).code).toBe(1);
});

test('keys issue: a key of Twilio comes with the account that its SDK asks for, one of Stripe without', async () => {
  const flags = ['keys', 'issue', '--label', 'x', '--ttl', '1h', '--cap', '5', '--allow'];
  const texts = 'POST /2010-04-01/Accounts/{AccountSid}/Messages.json';
  const ofTwilio = await cli(...flags, texts, '--vendor', 'twilio');
  expect(ofTwilio.stderr).toMatch(/Its account at the vendor, for the SDK: AC[0-9a-f]{32}$/m);
  expect(ofTwilio.stdout).toMatch(/^vk_\w+\n$/);
  expect((await cli(...flags, ENDPOINT)).stderr).not.toContain('account at the vendor');
});

test('run: exit code 0 and the report; audit, status and job tell the same', async () => {
  const source = customers('ok', 8);
  const { code, stdout, stderr } = await cli('run', ...runFlags(source, 50), '--job-id', 'cli-ok', '--label', 'cli/ok');
  expect(stderr).toBe('');
  expect(code).toBe(0);
  expect(stdout).toMatch(/^cli\/ok: completed\n/);
  expect(stdout).toMatch(/records +8: 8 succeeded/);
  expect(stdout).toMatch(/spent +\$20\.00 settled/);

  expect((await cli('status', 'keybrake-cli-ok')).stdout).toMatch(/8 succeeded/);
  expect((await cli('status', '--job', 'cli-ok')).stdout).toMatch(/spent +\$20\.00 settled/);
  const table = await cli('audit', '--label', 'cli/ok');
  expect(table.stdout.trim().split('\n')).toHaveLength(9);
  expect(table.stderr).toBe('8 calls\n');
  const rows = (await cli('audit', '--job', 'cli-ok', '--json')).stdout.trim().split('\n');
  expect(rows.map((row) => (JSON.parse(row) as CallView).cost_usd)).toEqual(Array(8).fill(2.5));
  const csv = await cli('audit', '--job', 'cli-ok', '--record', 'cus_ok_3', '--csv');
  expect(csv.stdout.trim().split(/\r?\n/)).toHaveLength(2);
});

test('run: exit code 2 at the cap; after raise, the same job finishes and charges nobody twice', async () => {
  const flags = [
    ...runFlags(customers('cap', 10), 12),
    '--job-id',
    'cli-cap',
    '--label',
    'cli/cap',
    '--concurrency',
    '2',
  ];
  const first = await cli('run', ...flags, '--json');
  expect(first.code).toBe(2);
  const report = JSON.parse(first.stdout) as RunReport;
  expect(report).toMatchObject({ status: 'cap_exhausted', records: { succeeded: 4, total: 10 } });
  expect(first.stderr).toBe('');

  expect((await cli('raise', 'keybrake-cli-cap', '--to', '99')).stderr).toMatch(/has ended .*\n?.*raise --job/);
  expect((await cli('raise', '--job', 'cli-cap', '--to', '99')).stdout).toMatch(/cap +\$99\.00/);
  const second = await cli('run', ...flags);
  expect(second).toMatchObject({ code: 0, stdout: expect.stringMatching(/6 succeeded, 4 replayed/) });
  const charges = at.stack.sandbox!.charges().filter(({ customer }) => customer?.startsWith('cus_cap_'));
  expect(new Set(charges.map(({ customer }) => customer)).size).toBe(10);
  expect(charges).toHaveLength(10);
});

test('run: a file of YAML; a run that pauses at its cap is raised, then revoked: exit code 2', async () => {
  at.stack.sandbox!.setFaults({ delayMs: 50 });
  customers('pause', 60);
  const input = `
label: cli/pause
source: { kind: jsonl, path: pause.jsonl }
recordId: id
call: { endpoint: ${ENDPOINT}, params: { amount: "{{amount_cents}}", currency: usd, customer: "{{id}}", confirm: "true" } }
key: { vendor: stripe, usdCap: 5, allowedEndpoints: [${ENDPOINT}], ttl: 1h }
concurrency: 1
onCapExhausted: pause
`;
  writeFileSync(join(at.folder, 'pause.yaml'), input);
  const running = start(['run', 'pause.yaml', '--workflow-id', 'cli-pause'], { env: at.env, cwd: at.folder });
  await until(async () => (await cli('status', 'cli-pause')).stdout.includes('waiting for cap'));
  await running.said(/Not going on: the cap of \$5\.00 is spent\. To go on: keybrake raise cli-pause --to USD/);
  const resumed = await cli('resume', 'cli-pause');
  expect([resumed.code, resumed.stdout]).toEqual([1, '']);
  expect(resumed.stderr).toMatch(
    /not held by a pause, but the cap of \$5\.00 is spent\. To go on: keybrake raise cli-pause/,
  );
  expect((await cli('raise', 'cli-pause', '--to', '7.50')).stdout).toMatch(/is \$7\.50 now/);
  await until(async () => (await cli('status', 'cli-pause', '--json')).stdout.includes('"settled_usd": 7.5'));
  expect((await cli('revoke', 'cli-pause', '--reason', 'enough')).stdout).toMatch(/was told to revoke/);
  const { code, stdout } = await running.ended;
  at.stack.sandbox!.setFaults({});
  expect(code).toBe(2);
  expect(stdout).toMatch(/^cli\/pause: revoked\n.*enough/);
  expect(stdout).toMatch(/3 succeeded/);
});

test('pause and resume: no call is started between them, and the terminal of the run says how to go on', async () => {
  at.stack.sandbox!.setFaults({ delayMs: 50 });
  const flags = [...runFlags(customers('hold', 40), 500), '--concurrency', '1', '--workflow-id', 'cli-hold'];
  const running = start(['run', ...flags], { env: at.env, cwd: at.folder });
  const charged = () => at.stack.sandbox!.charges().filter(({ customer }) => customer?.startsWith('cus_hold_')).length;
  await until(async () => charged() > 0);
  expect((await cli('pause', 'cli-hold')).stdout).toMatch(/no further call\. To go on: keybrake resume cli-hold/);
  await until(async () => {
    const { phase, inFlight } = JSON.parse((await cli('status', 'cli-hold', '--json')).stdout) as RunStatusView;
    return phase === 'paused' && inFlight === 0;
  });
  const before = charged();
  await running.said(/Not going on: an operator paused it\. To go on: keybrake resume cli-hold/);
  expect(charged()).toBe(before);
  at.stack.sandbox!.setFaults({});
  expect(JSON.parse((await cli('resume', 'cli-hold', '--json')).stdout)).toEqual({
    workflowId: 'cli-hold',
    signalled: 'resume',
  });
  expect(await running.ended).toMatchObject({ code: 0, stdout: expect.stringMatching(/40 succeeded/) });
  const over = await cli('pause', 'cli-hold');
  expect([over.code, over.stderr]).toEqual([
    1,
    'keybrake: cli-hold has ended already. How: keybrake status cli-hold\n',
  ]);
});

test('run: --daily-cap and --max-per-call bind, and the terminal of a run that waits for the next day says so', async () => {
  const flags = [...runFlags(customers('daily', 4), 500), '--concurrency', '1', '--workflow-id', 'cli-daily'];
  const caps = ['--daily-cap', '5', '--max-per-call', '2.50', '--on-cap', 'pause'];
  const running = start(['run', ...flags, ...caps], { env: at.env, cwd: at.folder });
  await running.said(/Not going on: The daily cap of \$5\.00 is spent: .* goes on then; .*keybrake revoke cli-daily\)/);
  const { keyId } = JSON.parse((await cli('status', 'cli-daily', '--json')).stdout) as RunStatusView;
  const { stdout } = await cli('keys', 'show', keyId!, '--json');
  expect(JSON.parse(stdout)).toMatchObject({ daily_usd_cap: 5, max_usd_per_call: 2.5 });
  await cli('revoke', 'cli-daily');
  expect(await running.ended).toMatchObject({ code: 2, stdout: expect.stringMatching(/2 succeeded/) });
});

test('run: Ctrl-C cancels, waits for the report, and exits 1', async () => {
  at.stack.sandbox!.setFaults({ delayMs: 100 });
  const flags = [...runFlags(customers('stop', 100), 500), '--concurrency', '2', '--workflow-id', 'cli-stop'];
  const running = start(['run', ...flags], { env: at.env, cwd: at.folder });
  await until(async () => at.stack.sandbox!.charges().some(({ customer }) => customer?.startsWith('cus_stop_')));
  running.child.kill('SIGINT');
  const { code, stdout, stderr } = await running.ended;
  at.stack.sandbox!.setFaults({});
  expect(stderr).toMatch(/Cancelling: no new calls/);
  expect(code).toBe(1);
  expect(stdout).toMatch(/: cancelled\n/);
  const charged = at.stack.sandbox!.charges().filter(({ customer }) => customer?.startsWith('cus_stop_')).length;
  expect(stdout).toContain(`${charged} succeeded`);
  expect((await cli('status', 'cli-stop')).stdout).toMatch(/: cancelled\n/);
});

test('run: a wrong input fails with every wrong field; a missing file is told before anything starts', async () => {
  writeFileSync(
    join(at.folder, 'wrong.json'),
    JSON.stringify({ label: '', source: { kind: 'xml' }, key: { usdCap: -1 } }),
  );
  const { code, stderr } = await cli('run', 'wrong.json');
  expect(code).toBe(1);
  for (const field of ['label', 'source', 'recordId', 'key.usdCap', 'key.ttl']) expect(stderr).toContain(field);
  expect((await cli('run', 'nowhere.json')).stderr).toMatch(/nowhere\.json cannot be read/);
  expect((await cli('run', '--cap', '5')).stderr).toMatch(/--source FILE, --endpoint/);
});

test('run: records that failed without a call are told by the results file, and the advice says so', async () => {
  const flags = [...runFlags(customers('noid', 2), 5), '--record-id', 'nothing'];
  const untold = await cli('run', ...flags);
  expect(untold.stderr).toMatch(/^Why some failed: keybrake audit --job .*: run it again with --results FILE$/m);
  const told = await cli('run', ...flags, '--results', 'noid.out');
  expect(told.stderr).toMatch(/^Why some failed: keybrake audit --job .*, the lines of noid\.out$/m);
  expect(readFileSync(join(at.folder, 'noid.out'), 'utf8')).toMatch(/the record id \\"nothing\\" is missing/);
});

test('run: says what keeps it from going on, and Ctrl-C still ends it', async () => {
  const running = start(['run', ...runFlags('nowhere.csv', 5), '--workflow-id', 'cli-lost'], {
    env: at.env,
    cwd: at.folder,
  });
  await running.said(/Not going on: keybrake\.prepare failed \d+ times: .*nowhere\.csv/);
  running.child.kill('SIGINT');
  expect((await running.ended).code).toBe(1);
});

test('run: of several inputs, one that cannot be started is told beside the reports of the others', async () => {
  const file = (name: string) => {
    const source = { kind: 'jsonl', path: customers(name, 3) };
    const params = { amount: '{{amount_cents}}', currency: 'usd', customer: '{{id}}', confirm: 'true' };
    const key = { vendor: 'stripe', usdCap: 20, allowedEndpoints: [ENDPOINT], ttl: '1h' };
    const call = { endpoint: ENDPOINT, params };
    writeFileSync(
      join(at.folder, `${name}.json`),
      JSON.stringify({ label: name, jobId: name, source, recordId: 'id', call, key }),
    );
    return `${name}.json`;
  };
  const files = [file('beside'), file('busy')];
  await cli('run', 'busy.json', '--detach', '--task-queue', 'of-no-worker');
  const error = 'not started: keybrake-busy is running already.';
  const { code, stdout, stderr } = await cli('run', ...files);
  expect(stdout).toContain('beside: completed');
  expect(stderr).toContain(`keybrake-busy: ${error}`);
  expect(code).toBe(1);
  const json = await cli('run', ...files, '--json');
  expect(JSON.parse(json.stdout)).toMatchObject([
    { status: 'completed', records: { replayed: 3 } },
    { workflowId: 'keybrake-busy', status: 'failed', error: expect.stringContaining(error) },
  ]);
  const detached = await cli('run', ...files, '--detach');
  expect([detached.code, detached.stdout]).toEqual([1, 'keybrake-beside\n']);
});

test('run --detach prints the workflow id and leaves', async () => {
  const { stdout } = await cli('run', ...runFlags(customers('bg', 1), 5), '--workflow-id', 'cli-bg', '--detach');
  expect(stdout).toBe('cli-bg\n');
  await until(async () => (await cli('status', 'cli-bg')).stdout.includes('completed'));
});

test('doctor: all is well here; elsewhere each failure names its way out', async () => {
  const well = await cli('doctor');
  expect(well.stdout).toMatch(/^ok +settings/);
  expect(well.stdout).not.toMatch(/^(warn|fail)/m);
  expect(well.code).toBe(0);
  const ill = await keybrake(['doctor', '--task-queue', 'nobody'], {
    env: { ...at.env, KEYBRAKE_API_KEY: 'kb_admin_wrong_wrong_wrong' },
  });
  expect(ill.code).toBe(1);
  expect(ill.stdout).toMatch(/^fail +role key .*\n +-> Set KEYBRAKE_API_KEY/m);
  expect(ill.stdout).toMatch(/^fail +activities +no worker polls nobody\n +-> Start one: keybrake worker/m);
  const nothing = await keybrake(['doctor', '--json', '--temporal-address', '127.0.0.1:9'], { env: {} });
  expect(JSON.parse(nothing.stdout)).toMatchObject([
    { level: 'fail', what: 'settings' },
    { level: 'fail', what: 'temporal' },
  ]);
}, 90_000);

async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 40_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error('it did not come to hold');
    await sleep(50);
  }
}
