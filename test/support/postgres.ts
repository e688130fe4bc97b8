/** The Postgres that tests run on: made when it is first asked for, gone with the test file. */
import { atEnd } from './atEnd';
import { type Cluster, clusterOn, type Server, startServer } from './postgresServer';

export type { Cluster, Server } from './postgresServer';

/** Where jest's set-up has started one for all files, each file removes only the databases that it made. */
const startedPort = process.env['KEYBRAKE_TEST_POSTGRES_PORT'];
const databases: string[] = [];
const removals: (() => void)[] = [];
const removeAll = (): void => {
  for (const remove of removals.splice(0)) remove();
};
// Also when the process ends before its tests do.
process.once('exit', removeAll);
atEnd(async () => {
  removeAll();
  if (startedPort === undefined) return;
  const server = clusterOn(Number(startedPort));
  for (const name of databases.splice(0)) await server.query(`DROP DATABASE ${name} WITH (FORCE)`);
});

let shared: Promise<Cluster> | undefined;

/** The cluster that all tests of a file share. */
export function cluster(): Promise<Cluster> {
  shared ??= startedPort === undefined ? startCluster() : Promise.resolve(remembering(clusterOn(Number(startedPort))));
  return shared;
}

/** One that a test may stop and start. */
export async function startCluster(): Promise<Server> {
  const server = await startServer();
  removals.push(() => server.remove());
  return server;
}

function remembering(server: Cluster): Cluster {
  return {
    ...server,
    async newDatabase() {
      const url = await server.newDatabase();
      databases.push(new URL(url).pathname.slice(1));
      return url;
    },
  };
}
