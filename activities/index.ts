/** The pack's activities, for a worker that is set up by hand; `KeybrakePlugin` adds them, and more, by itself. */
import { ACTIVITIES } from './contract/plan';
import { beating } from './beat';
import { callChunk } from './callChunk';
import { callRecord } from './callRecord';
import { issue, raise, revoke, spend } from './control';
import { toFailure } from './failures';
import { lookUp } from './lookUp';
import { page } from './pages';
import { prepareRun } from './prepareRun';
import { type KeybrakeActivitiesOptions, Runtime } from './runtime';
import type { KeybrakeActivities } from './types';
import { writeResults } from './writeResults';

export { FAILURES } from './codes';
export { type KeybrakeActivitiesOptions } from './runtime';
export type { KeybrakeActivities } from './types';
export { vault, type ActivityVault } from './vault';

/**
 * The activities by name. A worker needs them beside the workflows of `keybrake-temporal/workflows`, since some run as
 * local activities. Without the plugin, `vault()` and calls by users' own activities do not work.
 */
export function createKeybrakeActivities(options: KeybrakeActivitiesOptions): KeybrakeActivities {
  return activitiesOf(new Runtime(options));
}

/** The activities of a runtime that is shared with the interceptor. */
export function activitiesOf(runtime: Runtime): KeybrakeActivities {
  const { client, env, guards } = runtime;
  return {
    [ACTIVITIES.prepare]: failing((input) => prepareRun(runtime, input)),
    [ACTIVITIES.page]: failing((input) => page(env, input)),
    [ACTIVITIES.callRecord]: failing((input) => beating(() => callRecord(runtime, input))),
    [ACTIVITIES.callChunk]: failing((input) => callChunk(runtime, input)),
    [ACTIVITIES.issue]: failing((input) => issue(client, input)),
    [ACTIVITIES.revoke]: failing((input) => revoke(client, input)),
    [ACTIVITIES.raise]: failing((input) => raise(client, input)),
    [ACTIVITIES.spend]: failing((input) => spend(client, input)),
    [ACTIVITIES.lookUp]: failing((input) => beating(() => lookUp(runtime, input))),
    [ACTIVITIES.guard]: (input) => guards.start(input),
    [ACTIVITIES.writeResults]: failing((input) => writeResults(runtime, input)),
  };
}

/** Errors leave as failures of a known type. */
function failing<I, O>(activity: (input: I) => Promise<O>): (input: I) => Promise<O> {
  return async (input) => {
    try {
      return await activity(input);
    } catch (error) {
      throw toFailure(error);
    }
  };
}
