/** What the exit code of `keybrake run` says, and whoever schedules it goes by. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { noOutcomes, type OutcomeCounts, type RunReport } from '../activities/contract/plan';
import { EXIT, exitOf, worstOf } from '../src/cli/exitCodes';
import { keybrake, start } from './support/cli';
import { useCliStack } from './support/cliStack';
import { eventually } from './support/temporal';

const ENDPOINT = 'POST /v1/payment_intents';

function reportWith(records: Partial<OutcomeCounts>, change: Partial<RunReport> = {}): RunReport {
  const nothing = { keyId: null, spend: null, jobSpend: null, results: null };
  const counts = { ...noOutcomes(), ...records, total: null };
  return { status: 'completed', reason: '', jobId: 'j', label: 'l', records: counts, ...nothing, ...change };
}

describe('the exit code for a report', () => {
  test.each(['succeeded', 'declined', 'replayed', 'duplicate'])('0 where every record is %s', (outcome) => {
    expect(exitOf(reportWith({ [outcome]: 2 }, { revokeConfirmed: true }), false)).toBe(0);
  });

  test.each(['failed', 'refused', 'unknown', 'not_started'])('3 where a single record is %s', (outcome) => {
    expect(exitOf(reportWith({ succeeded: 99, [outcome]: 1 }), false)).toBe(3);
  });

  test('3 where the results file is missing that was asked for, and only then', () => {
    expect(exitOf(reportWith({ succeeded: 1 }), true)).toBe(3);
    expect(exitOf(reportWith({ succeeded: 1 }, { results: 'r.ndjson' }), true)).toBe(0);
    expect(exitOf(reportWith({ succeeded: 1 }), false)).toBe(0);
  });

  test('3 where the proxy did not confirm that the key is revoked', () => {
    expect(exitOf(reportWith({ succeeded: 1 }, { revokeConfirmed: false }), false)).toBe(3);
  });

  test.each([
    ['cap_exhausted', 2],
    ['revoked', 2],
    ['expired', 2],
    ['cancelled', 1],
    ['failed', 1],
  ] as const)('a run that is %s exits with %d, whatever became of its records', (status, code) => {
    expect(exitOf(reportWith({ succeeded: 1 }, { status }), false)).toBe(code);
    expect(exitOf(reportWith({ unknown: 1 }, { status }), true)).toBe(code);
  });

  test('1 where there is no report', () => {
    expect(exitOf(null, false)).toBe(1);
  });

  test('of several runs the worst: nothing hides one that has failed', () => {
    const { ok, failed, stopped, incomplete } = EXIT;
    expect(worstOf([stopped, failed, incomplete, ok])).toBe(1);
    expect(worstOf([incomplete, stopped, ok])).toBe(2);
    expect(worstOf([ok, incomplete])).toBe(3);
    expect(worstOf([ok, ok])).toBe(0);
  });
});

describe('run', () => {
  const at = useCliStack();

  /** The flags of a run over so many customers at $2.50 each. */
  function runFlags(name: string, count: number, capUsd = 100): string[] {
    const lines = Array.from({ length: count }, (_, i) => JSON.stringify({ id: `cus_${name}_${i}`, cents: 250 }));
    writeFileSync(join(at.folder, `${name}.jsonl`), lines.join('\n'));
    const params = ['amount={{cents}}', 'currency=usd', 'customer={{id}}', 'confirm=true'];
    const flags = ['--source', `${name}.jsonl`, '--endpoint', ENDPOINT, '--cap', String(capUsd), '--job-id', name];
    return [...flags, ...params.flatMap((param) => ['--param', param])];
  }

  function cli(...args: string[]) {
    return keybrake(args, { env: at.env, cwd: at.folder });
  }

  test('3 where every record was refused, though the run has completed', async () => {
    const { code, stdout } = await cli('run', ...runFlags('refused', 3), '--max-per-call', '1');
    expect(stdout).toMatch(/: completed\n/);
    expect(stdout).toMatch(/records +3: 3 refused/);
    expect(code).toBe(3);
  });

  test('3 where the results file could not be written at the end', async () => {
    mkdirSync(join(at.folder, 'out'));
    at.stack.sandbox!.setFaults({ delayMs: 200 });
    const running = start(['run', ...runFlags('unwritten', 4), '--concurrency', '1', '--results', 'out/r.ndjson'], {
      env: at.env,
      cwd: at.folder,
    });
    await eventually(() => at.stack.sandbox!.charges().some(({ customer }) => customer?.startsWith('cus_unwritten_')));
    mkdirSync(join(at.folder, 'out/r.ndjson'));
    const { code, stdout } = await running.ended;
    at.stack.sandbox!.setFaults({});
    expect(stdout).toMatch(/: completed\n.*The results file was not written: /);
    expect(stdout).toMatch(/4 succeeded/);
    expect(code).toBe(3);
  });
});
