/**
 * The Temporal plugin: add it to a worker, and to a client, bundler or replay worker where you like.
 * Temporal does not tell one plugin that is given twice (to a connection and to a worker) from two, so every hook here
 * looks whether its work is done already.
 */
import { SimplePlugin } from '@temporalio/plugin';
import type {
  ActivityInterceptorsFactory,
  BundleOptions,
  ReplayWorkerOptions,
  Worker,
  WorkerOptions,
} from '@temporalio/worker';
import { activitiesOf } from '../activities';
import { activityInterceptor } from '../activities/interceptor';
import { type KeybrakeActivitiesOptions, Runtime } from '../activities/runtime';
import { isLoopback } from './config/network';

/** Each option falls back to the environment: `KEYBRAKE_URL`, `KEYBRAKE_WORKER_KEY`, `KEYBRAKE_SOURCE_DIR`. */
export interface KeybrakePluginOptions extends Partial<KeybrakeActivitiesOptions> {
  /**
   * The worker key and vault keys may travel beyond this machine in plain text, because the network is trusted; by default
   * as `KEYBRAKE_ALLOW_PLAINTEXT=1` says.
   */
  readonly allowPlaintext?: boolean;
  /**
   * `false` adds no workflows to a worker that names none: it runs activities alone, and polls no workflow tasks. The
   * worker of the workflows needs the plugin too.
   */
  readonly workflows?: boolean;
}

/** In-flight vendor calls may take a minute and a half; a worker that stops lets them end. Temporal's default is 0. */
const SHUTDOWN_GRACE_TIME = '90 seconds';
/** A cancellation reaches an activity with its next heartbeat that is not throttled. Temporal's default is 60 s. */
const HEARTBEAT_THROTTLE = '1 second';

const ours = new WeakSet<ActivityInterceptorsFactory>();

export class KeybrakePlugin extends SimplePlugin {
  readonly #options: KeybrakePluginOptions;
  #runtime: Runtime | undefined;

  /** Never throws: what is missing is told when a worker is made, since clients and bundlers need none of it. */
  constructor(options: KeybrakePluginOptions = {}) {
    super({ name: 'keybrake.temporal' });
    this.#options = options;
  }

  /**
   * Adds the pack's activities, interceptors and, where you name no workflows of your own, its workflows and payload
   * converter, unless the option `workflows` is false. What you have set stays. Throws an Error that lists everything
   * wrong with the options.
   */
  override configureWorker(options: WorkerOptions): WorkerOptions {
    const { interceptors } = options;
    if (interceptors?.activity?.some((factory) => ours.has(factory)) === true) return options;
    const runtime = (this.#runtime ??= new Runtime(checked(this.#options, process.env)));
    const interceptor = activityInterceptor(runtime);
    ours.add(interceptor);
    const { workflowsPath, workflowBundle } = options;
    const without = this.#options.workflows === false && workflowsPath === undefined && workflowBundle === undefined;
    const workflows = without ? undefined : workflowsOf(options);
    return {
      ...options,
      ...workflows,
      activities: withoutReplacing(activitiesOf(runtime), options.activities),
      interceptors: {
        ...interceptors,
        activity: [...(interceptors?.activity ?? []), interceptor],
        ...(workflows !== undefined && { workflowModules: withModule(interceptors?.workflowModules) }),
      },
      shutdownGraceTime: options.shutdownGraceTime ?? SHUTDOWN_GRACE_TIME,
      maxHeartbeatThrottleInterval: options.maxHeartbeatThrottleInterval ?? HEARTBEAT_THROTTLE,
    };
  }

  override configureReplayWorker(options: ReplayWorkerOptions): ReplayWorkerOptions {
    const { interceptors } = options;
    const workflows = workflowsOf(options);
    if (workflows === undefined) return options;
    const workflowModules = withModule(interceptors?.workflowModules);
    return { ...options, ...workflows, interceptors: { ...interceptors, workflowModules } };
  }

  /** For `bundleWorkflowCode({ plugins: [new KeybrakePlugin()] })`. */
  override configureBundler(options: BundleOptions): BundleOptions {
    return {
      ...options,
      workflowInterceptorModules: withModule(options.workflowInterceptorModules),
    };
  }

  /** When the worker has ended, its guards go on elsewhere. */
  override async runWorker(worker: Worker, next: (worker: Worker) => Promise<void>): Promise<void> {
    try {
      await next(worker);
    } finally {
      await this.#runtime?.guards.stop();
    }
  }
}

/**
 * What the worker is to bundle: the pack's workflows where no others are named, which read payloads with its converter
 * where no other is. Undefined: it has a bundle.
 */
function workflowsOf({ workflowsPath, workflowBundle, dataConverter }: WorkerOptions | ReplayWorkerOptions) {
  if (workflowsPath === undefined && workflowBundle !== undefined) return undefined;
  const own = require.resolve('../workflows');
  if (workflowsPath !== undefined && workflowsPath !== own) return { workflowsPath };
  const payloadConverterPath = require.resolve('../workflows/payloadConverter');
  return { workflowsPath: own, dataConverter: { payloadConverterPath, ...dataConverter } };
}

/** An activity of the user's stays, even one that has a name of ours. */
function withoutReplacing(activities: object, own: object | undefined): object {
  if (own instanceof Map) return new Map<unknown, unknown>([...Object.entries(activities), ...own]);
  return { ...activities, ...own };
}

function withModule(modules: readonly string[] = []): string[] {
  const module = require.resolve('../workflows/interceptors');
  return modules.includes(module) ? [...modules] : [...modules, module];
}

type Environment = Readonly<Record<string, string | undefined>>;

/** The options, completed from the environment. Throws an Error with the whole list of what is wrong. */
function checked(given: KeybrakePluginOptions, env: Environment): KeybrakeActivitiesOptions {
  const { allowPlaintext, workflows: _, ...options } = given;
  const { url = env['KEYBRAKE_URL'] ?? '', workerKey = env['KEYBRAKE_WORKER_KEY'] ?? '' } = options;
  const sourceDir = options.sourceDir ?? env['KEYBRAKE_SOURCE_DIR'];
  const plaintext = allowPlaintext ?? env['KEYBRAKE_ALLOW_PLAINTEXT'] === '1';
  const complaints = [...urlComplaints(url, plaintext), ...keyComplaints(workerKey), ...dirComplaints(sourceDir)];
  if (complaints.length > 0) {
    throw new Error(['KeybrakePlugin cannot work:', ...complaints.map((complaint) => `  ${complaint}`)].join('\n'));
  }
  return { ...options, url, workerKey, ...(sourceDir !== undefined && { sourceDir }) };
}

function urlComplaints(url: string, plaintext: boolean): string[] {
  const what = 'give url, or set KEYBRAKE_URL, to where the proxy is, e.g. http://127.0.0.1:8787';
  if (url === '') return [`The proxy is not named: ${what}.`];
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined || !/^https?:$/.test(parsed.protocol)) return [`"${url}" is not an http(s) URL: ${what}.`];
  if (parsed.username !== '' || parsed.search !== '' || parsed.hash !== '') {
    return [`The url has more than a host, a port and a path: ${what}.`];
  }
  if (parsed.protocol === 'http:' && !isLoopback(parsed.hostname) && !plaintext) {
    const out = 'use https, or set allowPlaintext or KEYBRAKE_ALLOW_PLAINTEXT=1 where the network is trusted';
    return [`"${url}" would send keys in plain text beyond this machine: ${out}.`];
  }
  return [];
}

/** The key itself is never repeated. */
function keyComplaints(workerKey: string): string[] {
  if (workerKey.trim() === '')
    return ['The worker has no key: give workerKey, or set KEYBRAKE_WORKER_KEY as at the proxy.'];
  return /^[!-~]+$/.test(workerKey) ? [] : ['The workerKey holds characters that an HTTP header cannot.'];
}

function dirComplaints(sourceDir: string | undefined): string[] {
  if (sourceDir === undefined || sourceDir.trim() !== '') return [];
  return ['The sourceDir is empty: leave it out for the working directory, or set KEYBRAKE_SOURCE_DIR.'];
}
