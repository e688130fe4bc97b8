/** How a run has ended, as far as Temporal can be asked. */
import { Client, Connection } from '@temporalio/client';
import { endingOf } from '../src/cli/ending';

test('when Temporal goes away, the way to the run that goes on is told', async () => {
  // Without interceptors nothing is tried again.
  const connection = Connection.lazy({ address: '127.0.0.1:9', interceptors: [] });
  const handle = new Client({ connection }).workflow.getHandle('keybrake-x');
  await expect(endingOf(handle)).rejects.toThrow(
    /^Temporal does not answer: .*\n.*goes on by itself: keybrake status keybrake-x$/s,
  );
  await connection.close();
});
