/** What help and advice promise to the person at the terminal. */
import { noOutcomes, type OutcomeCounts, type RunReport, type RunStatus } from '../activities/contract/plan';
import { adviceOn } from '../src/cli/report';
import { keybrake } from './support/cli';

async function helpOf(...command: string[]): Promise<string> {
  const { code, stdout } = await keybrake([...command, '--help']);
  expect(code).toBe(0);
  return stdout.replace(/\s+/g, ' ');
}

test('help names the stand-ins of all three vendors', async () => {
  expect(await helpOf()).toContain('everything on this machine, with stand-ins for Stripe, Twilio and Resend');
});

test("the proxy's help names the credentials of every vendor", async () => {
  const help = await helpOf('proxy');
  const names =
    'STRIPE_SECRET_KEY TWILIO_ACCOUNT_SID TWILIO_AUTH_TOKEN TWILIO_API_KEY TWILIO_API_SECRET RESEND_API_KEY';
  for (const name of names.split(' ')) expect(help).toContain(name);
});

test("the worker's help names what it reads, and no key that it has no use for", async () => {
  const help = await helpOf('worker');
  for (const name of ['URL', 'WORKER_KEY', 'SOURCE_DIR', 'LOG_LEVEL']) expect(help).toContain(`KEYBRAKE_${name}`);
  expect(help).not.toContain('KEYBRAKE_API_KEY');
});

test('the help of keys says that list is what it does by default', async () => {
  expect(await helpOf('keys')).toMatch(/list [^.]*Keys, newest first\. This is the default\./);
});

test('the help of run says what a second start without --job-id does, and what each exit code means', async () => {
  const help = await helpOf('run');
  expect(help).toMatch(/--job-id <id> .*without it a second start is another job and charges everybody again/);
  for (const meaning of [/1 failed or cancelled/, /2 stopped by its cap/, /3 completed, but/, /0 completed: every/]) {
    expect(help).toMatch(meaning);
  }
});

describe('advice after a run', () => {
  const FINISH = 'To finish what is left: the same run with --job-id billing';

  function advice(status: RunStatus, records: Partial<OutcomeCounts>, change: Partial<RunReport> = {}): string[] {
    const nothing = { keyId: null, spend: null, jobSpend: null, results: null };
    const counts = { ...noOutcomes(), ...records, total: null };
    return adviceOn({ status, reason: '', jobId: 'billing', label: 'l', records: counts, ...nothing, ...change });
  }

  test.each(['failed', 'cancelled', 'revoked', 'expired'] as const)(
    'a run that is %s is finished by its job id',
    (status) => {
      expect(advice(status, { succeeded: 1, not_started: 4 })).toContain(FINISH);
    },
  );

  test('a run that has completed is finished so where something is left, and else there is no advice', () => {
    expect(advice('completed', { succeeded: 1, refused: 1 })).toContain(FINISH);
    expect(advice('completed', { succeeded: 2 })).toEqual([]);
    expect(advice('cancelled', { succeeded: 2, declined: 1 })).not.toContain(FINISH);
  });

  test('a job id stands in it as one word of the shell, whatever it holds', () => {
    const jobId = 'a; b $(c)';
    expect(advice('failed', { not_started: 1 }, { jobId })).toEqual([FINISH.replace('billing', () => `'${jobId}'`)]);
  });

  test('a run that had no key has no job to finish', () => {
    expect(advice('failed', { not_started: 1 }, { jobId: '' })).toEqual([]);
  });
});
