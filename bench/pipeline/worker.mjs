/** One process with both workers: ours with the pack, and one for the activities that do nothing. argv: see below. */
import { fileURLToPath } from 'node:url';
import { NativeConnection, Worker } from '@temporalio/worker';
import pino from 'pino';
import { installTemporalRuntime, startWorker } from '../../lib/src/worker.js';

const [address, url, workerKey, sourceDir] = process.argv.slice(2);
installTemporalRuntime(pino({ level: 'error' }, pino.destination(2)));
const connection = await NativeConnection.connect({ address });
const keybrake = await startWorker({ url, workerKey, sourceDir, connection });
const noop = await Worker.create({
  connection,
  taskQueue: 'noop',
  workflowsPath: fileURLToPath(new URL('./noop.mjs', import.meta.url)),
  activities: { nothing: async () => {} },
});
const ended = Promise.all([keybrake.done, noop.run()]);
process.once('SIGTERM', () => {
  noop.shutdown();
  void keybrake.stop();
});
process.send({});
await ended;
await connection.close();
process.exit();
