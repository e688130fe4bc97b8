/** The exit codes of commands, and which of them stands for how a run has ended. */
import type { Outcome, OutcomeCounts, RunReport, RunStatus } from '../../activities/contract/plan';

/** Of `run`; other commands use `ok` and `failed`. Who ends at a signal exits with 128 and its number. */
export const EXIT = { ok: 0, failed: 1, stopped: 2, incomplete: 3 } as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** The exit codes of a command that a signal ends. */
export const EXIT_AT = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

/** How bad it is, the worst first: of several runs that is what the command says. */
const SEVERITY = [EXIT.failed, EXIT.stopped, EXIT.incomplete, EXIT.ok] as const;

const OF_STATUS = {
  completed: EXIT.ok,
  cap_exhausted: EXIT.stopped,
  revoked: EXIT.stopped,
  expired: EXIT.stopped,
  cancelled: EXIT.failed,
  failed: EXIT.failed,
} as const satisfies Record<RunStatus, ExitCode>;

/** Records that ended so are left to be seen to. What is declined is between the customer and the bank. */
const LEFT: readonly Outcome[] = ['failed', 'refused', 'unknown', 'not_started'];

/** The exit code for a run's end. `wantsResults`: its input names a results file. */
export function exitOf(report: RunReport | null, wantsResults: boolean): ExitCode {
  if (report === null) return EXIT.failed;
  const code = OF_STATUS[report.status];
  return code === EXIT.ok && isIncomplete(report, wantsResults) ? EXIT.incomplete : code;
}

function isIncomplete({ records, results, revokeConfirmed }: RunReport, wantsResults: boolean): boolean {
  return isLeft(records) || (wantsResults && results === null) || revokeConfirmed === false;
}

/** Whether there is a record that is neither paid for nor declined. */
export function isLeft(records: OutcomeCounts): boolean {
  return LEFT.some((outcome) => records[outcome] > 0);
}

/** The exit code for several runs. */
export function worstOf(codes: readonly ExitCode[]): ExitCode {
  return SEVERITY.find((code) => codes.includes(code)) ?? EXIT.ok;
}
