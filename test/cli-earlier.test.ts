/** A job id used again with other amounts: what was charged earlier must not read as "nothing was executed". */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { keybrake } from './support/cli';
import { useCliStack } from './support/cliStack';

const FLAGS = ['--endpoint', 'POST /v1/payment_intents', '--param', 'amount={{amount_cents}}', '--cap', '50'];

const at = useCliStack();

interface Besides {
  readonly env?: Readonly<Record<string, string>>;
  readonly more?: readonly string[];
}

function run(count: number, cents: number, { env = at.env, more = [] }: Besides = {}) {
  const charged = Array.from({ length: count }, (_, i) => JSON.stringify({ id: `cus_${i}`, amount_cents: cents }));
  const lines = [...charged, ...more];
  writeFileSync(join(at.folder, 'c.jsonl'), lines.join('\n'));
  const params = [
    '--param',
    'customer={{id}}',
    '--param',
    'currency=usd',
    '--param',
    'confirm=true',
    '--job-id',
    'J1',
    '--results',
    'c.out',
  ];
  return keybrake(['run', '--source', 'c.jsonl', ...FLAGS, ...params], { env, cwd: at.folder });
}

function results(): { outcome: string; code?: string; reason?: string }[] {
  const lines = readFileSync(join(at.folder, 'c.out'), 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line) as ReturnType<typeof results>[number]);
}

test('records that an earlier run of the job charged with other amounts are told as charged, not as left to do', async () => {
  expect(await run(4, 250)).toMatchObject({ code: 0, stdout: expect.stringContaining('4 succeeded') });
  const again = await run(4, 251);
  expect(again).toMatchObject({ code: 3, stdout: expect.stringContaining('4 failed') });
  expect(again.stderr).toBe(
    '4 failed: charged earlier by this job, with other parameters (keybrake audit --job J1). ' +
      'A new job id charges them again; for a new charge on purpose, give the record a new id.\n',
  );
  const reason = /^an earlier run of the job executed this id with other parameters \(call_\w+\)$/;
  for (const line of results()) {
    expect(line).toMatchObject({
      outcome: 'failed',
      code: 'idempotency_mismatch',
      reason: expect.stringMatching(reason),
    });
  }
  expect(at.stack.sandbox!.charges()).toHaveLength(4);
});

test('what is left beside them is still to be finished, and where the ledger cannot be asked both are said', async () => {
  const mixed = await run(4, 252, { more: ['{"id":"cus_new"}'] });
  expect(mixed.stderr).toMatch(/^4 failed: charged earlier by this job/m);
  expect(mixed.stderr).toMatch(/^Why some failed: .*\n(.*\n)*To finish what is left: the same run with --job-id J1$/m);
  const { KEYBRAKE_API_KEY: _, ...keyless } = at.env;
  const untold = await run(4, 252, { env: keyless });
  expect(untold.stderr).toMatch(/^Failed records with the code idempotency_mismatch: charged earlier by this job/m);
  expect(untold.stderr).toMatch(/^To finish what is left/m);
  expect(at.stack.sandbox!.charges()).toHaveLength(4);
});
