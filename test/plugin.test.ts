import { randomUUID } from 'node:crypto';
import { Client, Connection } from '@temporalio/client';
import { bundleWorkflowCode, NativeConnection, Worker, type WorkerOptions } from '@temporalio/worker';
import { KeybrakePlugin } from '../src/plugin';
import { pipelineRun } from '../workflows';
import { ACTIVITIES } from '../activities/contract/plan';
import {
  customers,
  eventually,
  failedTasks,
  inputFor,
  pluginFor,
  run,
  type Stack,
  startRun,
  startStack,
  withWorker,
  writeSource,
} from './support/temporal';
import { userActivities } from './support/userActivities';

const url = 'http://127.0.0.1:1';
const workerKey = 'kb_worker_test';
const options = (change: Partial<WorkerOptions> = {}): WorkerOptions => ({ taskQueue: 'q', ...change });

describe('KeybrakePlugin', () => {
  const env = { ...process.env };
  afterEach(() => {
    process.env = { ...env };
  });

  test('fills in what the user has not set', () => {
    const configured = new KeybrakePlugin({ url, workerKey }).configureWorker(options());
    expect(configured).toMatchObject({ shutdownGraceTime: '90 seconds', maxHeartbeatThrottleInterval: '1 second' });
    expect(Object.keys(configured.activities as object).toSorted()).toEqual(Object.values(ACTIVITIES).toSorted());
    expect(configured.workflowsPath).toBe(require.resolve('../workflows'));
    expect(configured.interceptors?.workflowModules).toEqual([require.resolve('../workflows/interceptors')]);
    expect(configured.interceptors?.activity).toHaveLength(1);
  });

  test("keeps all that is the user's", () => {
    const charge = async (): Promise<void> => undefined;
    const prepare = async (): Promise<void> => undefined;
    const activityInbound = [() => ({})];
    const activity = [() => ({})];
    const sinks = { log: { info: { fn: () => undefined } } };
    const given = options({
      workflowsPath: '/user/workflows',
      activities: { charge, [ACTIVITIES.prepare]: prepare },
      interceptors: { activityInbound, activity, workflowModules: ['/user/interceptors'], client: { workflow: [] } },
      sinks,
      shutdownGraceTime: '1 second',
      maxHeartbeatThrottleInterval: '5 seconds',
      maxEagerActivityReservationsPerWorkflowTask: 2,
    });
    const configured = new KeybrakePlugin({ url, workerKey }).configureWorker(given);
    const { activities, interceptors } = configured as { activities: Record<string, unknown> } & WorkerOptions;
    expect(activities['charge']).toBe(charge);
    expect(activities[ACTIVITIES.prepare]).toBe(prepare);
    expect(interceptors?.activityInbound).toBe(activityInbound);
    expect(interceptors?.activity?.[0]).toBe(activity[0]);
    expect(interceptors?.workflowModules?.[0]).toBe('/user/interceptors');
    expect(interceptors?.client).toEqual({ workflow: [] });
    expect(configured).toMatchObject({
      workflowsPath: '/user/workflows',
      sinks,
      shutdownGraceTime: '1 second',
      maxHeartbeatThrottleInterval: '5 seconds',
      maxEagerActivityReservationsPerWorkflowTask: 2,
    });
  });

  test('takes activities in a Map', () => {
    const charge = async (): Promise<void> => undefined;
    const given = options({ activities: new Map([['charge', charge]]) });
    const { activities } = new KeybrakePlugin({ url, workerKey }).configureWorker(given);
    expect((activities as Map<string, unknown>).get('charge')).toBe(charge);
    expect((activities as Map<string, unknown>).has(ACTIVITIES.guard)).toBe(true);
  });

  test('given twice, or as two, changes nothing more', () => {
    const plugin = new KeybrakePlugin({ url, workerKey });
    const once = plugin.configureWorker(options());
    expect(plugin.configureWorker(once)).toBe(once);
    expect(new KeybrakePlugin({ url, workerKey }).configureWorker(once)).toBe(once);
    const bundle = plugin.configureBundler({ workflowsPath: '/w' });
    expect(plugin.configureBundler(bundle).workflowInterceptorModules).toHaveLength(1);
    expect(plugin.configureReplayWorker(plugin.configureReplayWorker({})).interceptors?.workflowModules).toHaveLength(
      1,
    );
  });

  test('leaves a prebuilt bundle alone', () => {
    const configured = new KeybrakePlugin({ url, workerKey }).configureWorker(
      options({ workflowBundle: { code: '' } }),
    );
    expect(configured.workflowsPath).toBeUndefined();
    expect(configured.interceptors?.workflowModules).toBeUndefined();
  });

  test('adds activities alone where the user says so, and leaves named workflows as they are', () => {
    const plugin = new KeybrakePlugin({ url, workerKey, workflows: false });
    const alone = plugin.configureWorker(options());
    expect(alone).not.toHaveProperty('workflowsPath');
    expect(alone).not.toHaveProperty('dataConverter');
    expect(alone.interceptors).not.toHaveProperty('workflowModules');
    expect(Object.keys(alone.activities as object)).toContain(ACTIVITIES.callRecord);
    const named = plugin.configureWorker(options({ workflowsPath: '/user/workflows' }));
    expect(named.workflowsPath).toBe('/user/workflows');
    expect(named.interceptors?.workflowModules).toHaveLength(1);
    expect(plugin.configureReplayWorker({}).workflowsPath).toBeDefined();
  });

  test('reads the environment', () => {
    process.env['KEYBRAKE_URL'] = url;
    process.env['KEYBRAKE_WORKER_KEY'] = workerKey;
    expect(() => new KeybrakePlugin().configureWorker(options())).not.toThrow();
  });

  test('sends no key in plain text beyond this machine, unless that is asked for', () => {
    const far = { url: 'http://keybrake-proxy:8787', workerKey };
    const configure = (given: object) => () => new KeybrakePlugin(given).configureWorker(options());
    expect(configure(far)).toThrow(/plain text[^]*allowPlaintext or KEYBRAKE_ALLOW_PLAINTEXT=1/);
    for (const near of [
      { ...far, url: 'https://keybrake-proxy' },
      { ...far, allowPlaintext: true },
      { url, workerKey },
    ])
      expect(configure(near)).not.toThrow();
    process.env['KEYBRAKE_ALLOW_PLAINTEXT'] = '1';
    expect(configure(far)).not.toThrow();
    expect(configure({ ...far, allowPlaintext: false })).toThrow(/plain text/);
  });

  test('names all that is missing or wrong, and never the key', () => {
    delete process.env['KEYBRAKE_URL'];
    delete process.env['KEYBRAKE_WORKER_KEY'];
    const complaint = (given: object): string => {
      try {
        new KeybrakePlugin(given).configureWorker(options());
        return '';
      } catch (error) {
        return (error as Error).message;
      }
    };
    expect(complaint({})).toMatch(/KEYBRAKE_URL[^]*KEYBRAKE_WORKER_KEY/);
    const odd = complaint({ url: 'ftp://x', workerKey: 'secret key\n', sourceDir: ' ' });
    expect(odd).toMatch(/"ftp:\/\/x" is not an http[^]*workerKey[^]*sourceDir/);
    expect(odd).not.toContain('secret key');
    // Clients, connections, bundlers and replay workers need none of it.
    expect(() => new KeybrakePlugin().configureClient({})).not.toThrow();
    expect(() => new KeybrakePlugin().configureReplayWorker({})).not.toThrow();
  });
});

describe('on a real server', () => {
  let stack: Stack;

  beforeAll(async () => {
    stack = await startStack();
  });

  afterAll(() => stack.stop());

  test('on the connection, the worker and the client at once, it works once', async () => {
    const plugin = pluginFor(stack);
    const { address } = stack.temporal;
    const taskQueue = `twice-${randomUUID()}`;
    const native = await NativeConnection.connect({ address, plugins: [plugin] });
    const connection = await Connection.connect({ address, plugins: [plugin] });
    const client = new Client({ connection, plugins: [plugin] });
    const worker = await Worker.create({ connection: native, taskQueue, plugins: [plugin, pluginFor(stack)] });
    const path = await writeSource(stack, customers(5, 100, 'twice'));
    await worker.runUntil(async () => {
      const args: [unknown] = [inputFor(path)];
      const report = await client.workflow.execute(pipelineRun, { workflowId: randomUUID(), taskQueue, args });
      expect(report.records.succeeded).toBe(5);
    });
    await native.close();
    await connection.close();
  });

  test('with workflows bundled beforehand, and interceptors and activities of the user beside it', async () => {
    const workflowBundle = await bundleWorkflowCode({
      workflowsPath: require.resolve('./support/userWorkflows'),
      plugins: [new KeybrakePlugin()],
    });
    const intercepted: string[] = [];
    const seen = { keyIds: new Set<string>() };
    const worker: Partial<WorkerOptions> = {
      workflowBundle,
      activities: userActivities(seen),
      interceptors: {
        activityInbound: [
          ({ info }) => ({
            execute(input, next) {
              intercepted.push(info.activityType);
              return next(input);
            },
          }),
        ],
      },
    };
    await withWorker(
      stack,
      async (taskQueue) => {
        const start = { workflowId: randomUUID(), taskQueue, args: [['beside_1', 'beside_2'], 100] };
        expect(await stack.client.workflow.execute('chargeAll', start)).toMatchObject({ done: 2 });
        expect(intercepted.filter((name) => name === 'charge')).toHaveLength(2);
        const path = await writeSource(stack, customers(3, 100, 'bundled'));
        expect((await run(stack, taskQueue, inputFor(path))).records.succeeded).toBe(3);
      },
      { worker },
    );
  });

  test('a run on a worker without it waits, says so, and goes on with the next worker that has it', async () => {
    const taskQueue = `without-${randomUUID()}`;
    const workflowsPath = require.resolve('./support/userWorkflows');
    const activities = userActivities({ keyIds: new Set() });
    const connection = await NativeConnection.connect({ address: stack.temporal.address });
    const bare = await Worker.create({ connection, taskQueue, workflowsPath, activities });
    const start = { workflowId: randomUUID(), taskQueue, args: [['without_1'], 100] };
    const handle = await stack.client.workflow.start('chargeAll', start);
    await bare.runUntil(() =>
      eventually(async () => {
        const failed = await failedTasks(handle);
        return failed.some((message) => /add new KeybrakePlugin\(\) to its plugins/.test(message));
      }),
    );
    await connection.close();
    const done = withWorker(stack, () => handle.result(), { worker: { taskQueue, workflowsPath, activities } });
    expect(await done).toMatchObject({ done: 1 });
  });

  test('bundled without it, an activity in withVaultKey is told that the bundle lacks the plugin', async () => {
    const workflowBundle = await bundleWorkflowCode({ workflowsPath: require.resolve('./support/userWorkflows') });
    const worker = { workflowBundle, activities: userActivities({ keyIds: new Set() }) };
    await withWorker(
      stack,
      async (taskQueue) => {
        const start = { workflowId: randomUUID(), taskQueue, args: [['unbundled_1'], 100] };
        const error: unknown = await stack.client.workflow
          .execute('chargeAll', start)
          .catch((thrown: unknown) => thrown);
        expect(error).toMatchObject({
          cause: { cause: { message: expect.stringMatching(/give bundleWorkflowCode the plugin/) } },
        });
      },
      { worker },
    );
  });

  test('a worker of activities alone polls no workflow tasks, and takes none from the worker of the workflows', async () => {
    const activities = userActivities({ keyIds: new Set() });
    const workflowsPath = require.resolve('./support/userWorkflows');
    const ofWorkflows = 1;
    const ofActivities = 2;
    const pollers = async (taskQueue: string, taskQueueType: number): Promise<number> => {
      const answer = await stack.client.workflowService.describeTaskQueue({
        namespace: 'default',
        taskQueue: { name: taskQueue },
        // oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- the enum is in a package we do not depend on
        taskQueueType,
      });
      return answer.pollers.length;
    };
    await withWorker(
      stack,
      async (taskQueue) => {
        await eventually(async () => (await pollers(taskQueue, ofActivities)) === 1);
        expect(await pollers(taskQueue, ofWorkflows)).toBe(0);
        const both = { worker: { taskQueue, workflowsPath, activities } };
        await withWorker(
          stack,
          async () => {
            const runs = Array.from({ length: 5 }, async (_, index) => {
              const start = { workflowId: randomUUID(), taskQueue, args: [[`split_${index}`], 100] };
              const handle = await stack.client.workflow.start('chargeAll', start);
              expect(await handle.result()).toMatchObject({ done: 1 });
              expect(await failedTasks(handle)).toEqual([]);
            });
            await Promise.all(runs);
            expect(await pollers(taskQueue, ofWorkflows)).toBe(1);
          },
          both,
        );
      },
      { plugin: { workflows: false }, worker: { activities } },
    );
  });

  test('a replay worker with the plugin alone replays a run', async () => {
    const path = await writeSource(stack, customers(12, 100, 'replay'));
    const history = await withWorker(stack, async (taskQueue) => {
      const handle = await startRun(stack, taskQueue, inputFor(path));
      await handle.result();
      expect(await failedTasks(handle)).toEqual([]);
      return handle.fetchHistory();
    });
    await Worker.runReplayHistory({ plugins: [new KeybrakePlugin(), new KeybrakePlugin()] }, history);
  });
});
