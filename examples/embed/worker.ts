/** Your own worker: one plugin more. It leaves your workflows, activities and interceptors as they are. */
import { NativeConnection, Worker } from '@temporalio/worker';
import { KeybrakePlugin } from '../../src'; // 'keybrake-temporal'
import * as activities from './activities';

export async function runWorker(address: string, taskQueue: string): Promise<void> {
  const connection = await NativeConnection.connect({ address });
  try {
    const worker = await Worker.create({
      connection,
      taskQueue,
      workflowsPath: require.resolve('./workflows'),
      activities,
      // Reads KEYBRAKE_URL and KEYBRAKE_WORKER_KEY.
      plugins: [new KeybrakePlugin()],
    });
    await worker.run();
  } finally {
    await connection.close();
  }
}
