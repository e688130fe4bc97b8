/** jest's set-up where the tests of the proxy run on Postgres: one server for all files. */
import { type Server, startServer } from './postgresServer';

let server: Server | undefined;

export default async function setup(): Promise<void> {
  server = await startServer();
  process.env['KEYBRAKE_TEST_STORE'] = 'postgres';
  process.env['KEYBRAKE_TEST_POSTGRES_PORT'] = String(server.port);
}

export function teardown(): void {
  server?.remove();
}
