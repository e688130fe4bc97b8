/** `keybrake run`: starts pipeline runs, shows how they go, prints their reports. */
import { randomUUID } from 'node:crypto';
import type { Client, WorkflowHandle } from '@temporalio/client';
import type { Command } from 'commander';
import { KeybrakeClient } from '../../proxy/client';
import { clientOptionsFromEnv } from '../config';
import { choice } from './choice';
import { type TemporalFlags, temporalFlags, withTemporal } from './connect';
import { executedEarlier } from './earlier';
import { type Ending, endingOf } from './ending';
import { CliError, explain } from './errors';
import { EXIT, exitOf, worstOf } from './exitCodes';
import { heedSignals } from './leaving';
import { harmlessLines, print, printJson, tell } from './output';
import { collect, parseCount, parseUsd } from './parse';
import { type Progress, startProgress } from './progress';
import { adviceOn, describeReport } from './report';
import { type RunFlags, type RunInput, readInputs } from './runInput';

interface Flags extends RunFlags, TemporalFlags {
  readonly workflowId?: string;
  readonly detach?: boolean;
  readonly json?: boolean;
}

/** Adds `run`. */
export function addRun(program: Command): void {
  const command = program
    .command('run')
    .description('Run a file of records through a vendor under a dollar cap. Prints the report when it has ended.')
    .argument('[file...]', 'input files (JSON or YAML): label, source, recordId, call, key; or use the flags below')
    .option('--source <path>', 'records: a .jsonl, .ndjson or .csv file, below KEYBRAKE_SOURCE_DIR of the worker')
    .option('--endpoint <endpoint>', 'the call, e.g. "POST /v1/payment_intents"')
    .option('--activity <name>', 'the call: an activity of your own, instead of --endpoint')
    .option('--param <name=value>', 'parameter; {{field}} takes a field of the record; repeatable', collect, [])
    .option('--record-id <field>', 'field that names the record (default: id)')
    .option('--vendor <vendor>', 'stripe, twilio, resend, or one of your own (default: stripe)')
    .option('--cap <usd>', 'dollar cap of the job', parseUsd)
    .option('--daily-cap <usd>', 'dollar cap per UTC day', parseUsd)
    .option('--max-per-call <usd>', 'dollar cap of a single call', parseUsd)
    .option('--ttl <duration>', 'time to live of the key (default: 4h)')
    .option('--label <label>', 'run label (default: from the file name and the date)')
    .option(
      '--job-id <id>',
      'what must not be done twice; the same id again finishes what is left, and without it a second start is another ' +
        'job and charges everybody again (default: a new one at each start)',
    )
    .option('--account <name>', 'vendor account')
    .option('--allow <endpoint>', 'allowed endpoint (default: the one of --endpoint); repeatable', collect, [])
    .option('--concurrency <n>', 'records in flight', parseCount)
    .option('--records-per-activity <n>', 'records that one activity handles', parseCount)
    .addOption(choice('--on-cap <what>', 'at the cap: cancel, or pause until it is raised', ['cancel', 'pause']))
    .option('--retry-declined', 'send records again that an earlier run of the job saw declined')
    .option('--results <path>', 'write one line per record to this file, below KEYBRAKE_SOURCE_DIR of the worker')
    .option('--workflow-id <id>', 'Temporal workflow id; one input only')
    .option('--detach', 'start, print the workflow id, do not wait')
    .option('--json', 'print the report as JSON')
    .addHelpText('after', HELP);
  temporalFlags(command, { taskQueue: true }).action(run);
}

const HELP = `
Exit code, the first of these that holds for any of the runs:
  1  failed or cancelled, or not started
  2  stopped by its cap, a revoke or its time to live
  3  completed, but records failed, were refused or are unknown; or the results file was not written, or the proxy did not
     confirm that the key is revoked: the report says which
  0  completed: every record has succeeded, or the vendor declined it

Ctrl-C cancels the run and waits for its report; a second Ctrl-C leaves (130), and the run ends by itself. SIGTERM (143)
and SIGHUP (129) leave the run going: they say how to look at it and how to end it.

Examples:
  keybrake run billing.json
  keybrake run --source customers.jsonl --endpoint "POST /v1/payment_intents" --cap 500 \\
    --param amount={{amount_cents}} --param currency=usd --param customer={{id}} --param confirm=true
  keybrake run --vendor twilio --source people.csv --cap 5 --param To={{phone}} --param From=+15005550006 \\
    --param "Body=Hello {{name}}" --endpoint "POST /2010-04-01/Accounts/{AccountSid}/Messages.json"
  keybrake run --vendor resend --source people.csv --endpoint "POST /emails" --cap 1 --param from=a@example.com \\
    --param 'to[0]={{mail}}' --param subject=Hello --param text=…`;

async function run(files: readonly string[], flags: Flags): Promise<void> {
  const inputs = await readInputs(files, flags);
  if (flags.workflowId !== undefined && inputs.length > 1) throw new CliError('--workflow-id is for one input.');
  process.exitCode = await withTemporal(flags, async (client, { taskQueue }) => {
    const started = await startAll(client, inputs, taskQueue, flags.workflowId);
    return flags.detach === true ? announce(started, flags) : waitForAll(started, flags);
  });
}

/** A run under way, or the ending of one that could not be started. */
type Started = UnderWay | Ending;

interface UnderWay {
  readonly handle: WorkflowHandle;
  readonly label: string;
  readonly wantsResults: boolean;
}

/** One that cannot be started leaves the others as they are: they have begun to spend. */
async function startAll(client: Client, inputs: readonly RunInput[], taskQueue: string, id?: string) {
  const started = inputs.map(async (input): Promise<Started> => {
    const workflowId = id ?? workflowIdOf(input);
    try {
      const handle = await start(client, input, taskQueue, workflowId);
      return { handle, label: labelOf(input, handle), wantsResults: input['results'] !== undefined };
    } catch (error) {
      if (inputs.length === 1) throw error;
      return { workflowId, report: null, error: `not started: ${explain(error)}` };
    }
  });
  return Promise.all(started);
}

/** A run of a named job takes the job's name, so that Temporal itself refuses to run it twice at a time. */
function workflowIdOf({ jobId, label }: RunInput): string {
  const name = typeof jobId === 'string' ? jobId : `${titleOf(label)}-${randomUUID().slice(0, 8)}`;
  return `keybrake-${name.replace(/[^\w.:/-]+/g, '-').slice(0, 200)}`;
}

function titleOf(label: unknown): string {
  return typeof label === 'string' ? label : 'run';
}

async function start(client: Client, input: RunInput, taskQueue: string, workflowId: string): Promise<WorkflowHandle> {
  return client.workflow.start('pipelineRun', {
    workflowId,
    taskQueue,
    args: [input],
    workflowIdConflictPolicy: 'FAIL',
    staticSummary: `Keybrake run ${titleOf(input.label)}`.slice(0, 200),
  });
}

async function announce(started: readonly Started[], { json }: Flags): Promise<number> {
  const shown = started.map((one) =>
    'handle' in one ? { workflowId: one.handle.workflowId } : { workflowId: one.workflowId, error: one.error },
  );
  if (json === true) await printJson(shown);
  else for (const one of shown) await (one.error === undefined ? print(one.workflowId) : tell(told(one)));
  return shown.some(({ error }) => error !== undefined) ? EXIT.failed : EXIT.ok;
}

function told({
  workflowId,
  error = '',
}: {
  readonly workflowId: string;
  readonly error?: string | undefined;
}): string {
  return harmlessLines(`${workflowId}: ${error}`);
}

async function waitForAll(started: readonly Started[], flags: Flags): Promise<number> {
  const live = liveSpend();
  const progress = startProgress(live?.spendOf);
  const forget = heedSignals(
    started.flatMap((one) => ('handle' in one ? [one.handle] : [])),
    progress,
  );
  for (const one of started) if (!('handle' in one)) progress.say(told(one));
  const endings = await Promise.all(
    started.map((one) => ('handle' in one ? waitFor(one.handle, one.label, progress) : Promise.resolve(one))),
  ).finally(() => progress.stop());
  forget();
  await live?.close();
  const wanted = started.map((one) => 'handle' in one && one.wantsResults);
  const code = worstOf(endings.map(({ report }, index) => exitOf(report, wanted[index] === true)));
  // Also where nobody reads what is printed.
  process.exitCode = code;
  if (flags.json === true) {
    const shown = endings.map(({ workflowId, report, error }) => report ?? { workflowId, status: 'failed', error });
    await printJson(shown.length === 1 ? shown[0] : shown);
  } else {
    for (const ending of endings) await show(ending);
  }
  return code;
}

/** Where the environment says how to reach the proxy, the bar shows the ledger itself. It works without, too. */
function liveSpend() {
  if (!process.stderr.isTTY) return undefined;
  try {
    const client = new KeybrakeClient({ ...clientOptionsFromEnv(process.env), timeoutMs: 2_000 });
    const spendOf = (keyId: string) =>
      client.getKey(keyId).then(
        ({ spend }) => spend,
        () => undefined,
      );
    return { spendOf, close: () => client.close() };
  } catch {
    return undefined;
  }
}

function labelOf(input: RunInput, { workflowId }: WorkflowHandle): string {
  const { label } = input;
  return typeof label === 'string' ? label : workflowId;
}

async function waitFor(handle: WorkflowHandle, label: string, progress: Progress): Promise<Ending> {
  const ended = new AbortController();
  const following = progress.follow(handle, label, ended.signal);
  try {
    return await endingOf(handle);
  } finally {
    ended.abort();
    await following;
  }
}

async function show({ workflowId, report, error }: Ending): Promise<void> {
  if (report === null) return tell(told({ workflowId, error }));
  for (const line of describeReport(workflowId, report)) await print(line);
  for (const line of adviceOn(report, await executedEarlier(report))) tell(line);
}
