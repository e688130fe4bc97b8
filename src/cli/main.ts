#!/usr/bin/env node
/** `keybrake`: one file per command beside this one. */
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { addAudit } from './audit';
import { addDev } from './dev';
import { addDoctor } from './doctor';
import { fail, wantsJson } from './errors';
import { addKeys } from './keys';
import { addPause, addResume } from './pause';
import { addProxy } from './proxy';
import { addRaise, addRevoke } from './revoke';
import { addRun } from './run';
import { addSandbox } from './sandbox';
import { addStatus } from './status';
import { addWorker } from './worker';

const HELP = `
Start here:
  keybrake dev                                everything on this machine, with stand-ins for Stripe, Twilio and Resend
  keybrake run billing.json                   run a file of records under a dollar cap
  keybrake doctor                             what is wrong, and what to do about it

With --json, results are JSON on stdout, and an error is one line on stderr: {"error":{"code":"…","message":"…"}}.
KEYBRAKE_URL and KEYBRAKE_API_KEY say where the proxy is; TEMPORAL_ADDRESS (or a profile) where Temporal is.`;

function createProgram(): Command {
  const program = new Command('keybrake')
    .description('Vault keys with a dollar cap for every pipeline run on Temporal.')
    .version(version(), '--version')
    // What stands after a command is that command's: `audit` and `audit prune` both have --json.
    .enablePositionalOptions()
    .showHelpAfterError('(--help shows what there is)')
    .addHelpText('after', HELP);
  if (wantsJson()) errorsAsJson(program);
  const running = [addDev, addProxy, addWorker, addSandbox];
  const runs = [addRun, addStatus, addRevoke, addPause, addResume, addRaise];
  for (const add of running.concat(runs, addKeys, addAudit, addDoctor)) add(program);
  return program;
}

/** What is wrong with the command line is told as JSON too, by {@link fail}. To be said before commands are added. */
function errorsAsJson(program: Command): void {
  program
    .showHelpAfterError(false)
    .exitOverride()
    .configureOutput({ writeErr: () => undefined });
}

function version(): string {
  const path = require.resolve('keybrake-temporal/package.json');
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
}

// `keybrake audit | head` closes the pipe when it has seen enough: that is no failure. What has ended otherwise says so.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  fail(error);
});
// A Ctrl-C ends the `tee` of `keybrake proxy 2>&1 | tee log` too. Calls in flight end, and a run is cancelled, unheard.
process.stderr.on('error', () => undefined);

createProgram().parseAsync().catch(fail);
