/** What a person at a terminal sees of `keybrake run`: the command writes to a terminal of its own. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { eventually, type Stack, startStack, withWorker } from './support/temporal';

const MAIN = join(__dirname, '../lib/src/cli/main.js');
const IN_TERMINAL = 'import pty, sys; pty.spawn(sys.argv[1:])';

/** Whether lines wrap, after what was written so far. */
function wraps(written: string): boolean {
  return written.lastIndexOf('\u001b[?7h') > written.lastIndexOf('\u001b[?7l');
}

let stack: Stack;
let child: ReturnType<typeof spawn> | undefined;

beforeAll(async () => {
  stack = await startStack();
});

afterAll(async () => {
  child?.kill();
  await stack.stop();
});

test('what keeps a run from going on wraps at the edge of the terminal, and the bar comes back below it', async () => {
  await withWorker(stack, async (taskQueue) => {
    const flags = ['--source', 'nowhere.jsonl', '--endpoint', 'POST /v1/payment_intents', '--cap', '5'];
    const run = [MAIN, 'run', ...flags, '--task-queue', taskQueue, '--workflow-id', 'terminal'];
    const terminal = spawn('python3', ['-c', IN_TERMINAL, process.execPath, ...run], {
      env: { ...process.env, TEMPORAL_ADDRESS: stack.temporal.address },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let seen = '';
    child = terminal;
    terminal.stdout.on('data', (chunk) => (seen += String(chunk)));
    const said = await eventually(() => /Not going on: .*nowhere\.jsonl/.exec(seen) ?? undefined);
    expect(wraps(seen.slice(0, said.index))).toBe(true);
    await eventually(() => seen.slice(said.index).includes('preparing'));
    await stack.client.workflow.getHandle('terminal').cancel();
    await eventually(() => terminal.exitCode !== null).catch(async () => {
      const { status } = await stack.client.workflow.getHandle('terminal').describe();
      throw new Error(`The run is ${status.name} and its command has not ended: ${JSON.stringify(seen.slice(-600))}`);
    });
    expect(wraps(seen)).toBe(true);
  });
});
