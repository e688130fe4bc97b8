/** The source directory: nothing outside of it is read or written, and nothing that has changed is read on. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { prepare, readChunks, readRecord } from '../activities/sources';
import {
  env,
  FACTS,
  failureOf,
  type FileSource,
  inputFor,
  INVALID,
  itemsOf,
  planOf,
  refsOf,
  removeSources,
  sourceDir,
  write,
} from './source-fixture';

afterAll(removeSources);

describe('the source directory', () => {
  test('a path that leads out by a link is refused, one within is taken', async () => {
    const outside = mkdtempSync(join(tmpdir(), 'keybrake-outside-'));
    writeFileSync(join(outside, 'x.jsonl'), '{"id":1}\n');
    symlinkSync(join(outside, 'x.jsonl'), join(sourceDir, 'out.jsonl'));
    symlinkSync(outside, join(sourceDir, 'outdir'));
    mkdirSync(join(sourceDir, 'in'));
    writeFileSync(join(sourceDir, 'in', 'x.jsonl'), '{"id":1}\n');
    symlinkSync(join(sourceDir, 'in'), join(sourceDir, 'indir'));
    for (const path of ['out.jsonl', 'outdir/x.jsonl']) {
      const failure = await failureOf(prepare(inputFor({ kind: 'jsonl', path }), FACTS, env));
      expect(failure).toMatchObject(INVALID);
      expect(failure.message).toContain('source.path: leads out of KEYBRAKE_SOURCE_DIR');
    }
    const within = await prepare(inputFor({ kind: 'jsonl', path: './indir/x.jsonl' }), FACTS, env);
    expect(within.records).toBe(1);
    const results = { results: { path: 'outdir/r.ndjson' } };
    const failure = await failureOf(prepare(inputFor({ kind: 'jsonl', path: 'in/x.jsonl' }, results), FACTS, env));
    expect(failure.message).toContain('results.path: leads out');
    rmSync(outside, { recursive: true });
  });

  test.each([
    'keybrake.db',
    'keybrake.db.keys',
    'keybrake.db-log.0',
    'in/ledger.SQLITE',
    'dev.env',
    'tls.key',
    'keybrake.yaml',
    '.keybrake/dev.env',
    '.env',
    'in/.hidden.csv',
  ])('%s holds no records: it is neither read nor replaced', async (path) => {
    mkdirSync(join(sourceDir, dirname(path)), { recursive: true });
    writeFileSync(join(sourceDir, path), 'SECRET');
    symlinkSync(join(sourceDir, path), join(sourceDir, `link to ${path.replaceAll('/', ' ')}.csv`));
    const source = { kind: 'jsonl', path: write('{"id":1}', 'jsonl') } as const;
    const failures = [
      await failureOf(prepare(inputFor({ kind: 'csv', path }), FACTS, env)),
      await failureOf(prepare(inputFor({ kind: 'csv', path: `link to ${path.replaceAll('/', ' ')}.csv` }), FACTS, env)),
      await failureOf(prepare(inputFor(source, { results: { path } }), FACTS, env)),
    ];
    for (const failure of failures) {
      expect(failure).toMatchObject(INVALID);
      expect(failure.message).toMatch(/path: (?:must not name|leads to) a hidden file/);
      expect(failure.message).not.toContain('SECRET');
    }
    expect(readFileSync(join(sourceDir, path), 'utf8')).toBe('SECRET');
  });

  test('results take the place of results, or of nothing: never of a file that somebody else has written', async () => {
    const source = { kind: 'jsonl', path: write('{"id":1}', 'jsonl') } as const;
    const at = (path: string) => prepare(inputFor(source, { results: { path } }), FACTS, env);
    writeFileSync(join(sourceDir, 'books.ndjson'), '{"id":"cus_1"}\n');
    const failure = await failureOf(at('books.ndjson'));
    expect(failure).toMatchObject(INVALID);
    expect(failure.message).toContain('results.path: is there and holds no results of a run');
    writeFileSync(join(sourceDir, 'former.ndjson'), '{"record_id":"cus_1","line":1}\n');
    writeFileSync(join(sourceDir, 'empty.ndjson'), '');
    for (const path of ['former.ndjson', 'empty.ndjson', 'new.ndjson']) expect((await at(path)).records).toBe(1);
  });

  test('a missing file may be on another worker: retried, naming host and path', async () => {
    const failure = await failureOf(prepare(inputFor({ kind: 'csv', path: 'none.csv' }), FACTS, env));
    expect(failure).toMatchObject({ type: 'keybrake.source_missing', nonRetryable: false });
    expect(failure.message).toContain('worker-3');
    expect(failure.message).toContain('"none.csv"');
    expect(failure.message).toContain(sourceDir);
  });

  test('a directory is refused, and so is a results path that cannot be written', async () => {
    mkdirSync(join(sourceDir, 'folder'));
    const folder = await failureOf(prepare(inputFor({ kind: 'csv', path: 'folder' }), FACTS, env));
    expect(folder).toMatchObject(INVALID);
    expect(folder.message).toContain('source.path: must name a file');
    const path = write('{"id":1}', 'jsonl');
    for (const results of ['folder', 'nowhere/r.ndjson', `./${path}`]) {
      const failure = await failureOf(
        prepare(inputFor({ kind: 'jsonl', path }, { results: { path: results } }), FACTS, env),
      );
      expect(failure).toMatchObject(INVALID);
      expect(failure.message).toContain('results.path: ');
      // The failure is final.
      expect(failure.message).not.toContain('tried again');
    }
  });

  test('a results name that the file system does not take is refused before the first call', async () => {
    const path = write('{"id":1}', 'jsonl');
    const preparedWith = (name: string) =>
      prepare(inputFor({ kind: 'jsonl', path }, { results: { path: name } }), FACTS, env);
    for (const name of ['r'.repeat(256), '漢'.repeat(86)]) {
      const failure = await failureOf(preparedWith(name));
      expect(failure).toMatchObject(INVALID);
      expect(failure.message).toMatch(/results\.path: .*255 bytes/);
    }
    for (const name of ['r'.repeat(255), '漢'.repeat(85)])
      expect(await preparedWith(name)).toMatchObject({ results: { path: name } });
  });

  test('a results folder that the worker may not write is refused before the first call, an open one is taken', () => {
    const folder = mkdtempSync(join(tmpdir(), 'keybrake-results-'));
    writeFileSync(join(folder, 'in.jsonl'), '{"id":1}\n');
    mkdirSync(join(folder, 'open'));
    mkdirSync(join(folder, 'closed'));
    chmodSync(folder, 0o755);
    chmodSync(join(folder, 'open'), 0o777);
    chmodSync(join(folder, 'closed'), 0o555);
    const [open, closed] = ['open/r.ndjson', 'closed/r.ndjson'].map((path) =>
      preparedByNobody(inputFor({ kind: 'jsonl', path: 'in.jsonl' }, { results: { path } }), folder),
    );
    expect(open).toBe('planned');
    expect(closed).toMatch(/results\.path: its folder cannot be written by worker worker-3 \(EACCES\)\. Let the user/);
    rmSync(folder, { recursive: true });
  });

  test('a file that has changed since the plan is not read, by any reader', async () => {
    const plan = await planOf('jsonl', '{"id":1}\n{"id":2}\n');
    const source = plan.source as FileSource;
    const [ref] = await refsOf(plan, 1);
    const readers = [
      () => refsOf(plan, 1),
      () => itemsOf(plan),
      () => readRecord(source, ref!, env),
      () => readChunks(source, { offset: 0, line: 1 }, { limit: 1, end: 9, recordsPerChunk: 1 }, env),
    ];
    const path = join(sourceDir, source.path);
    utimesSync(path, 1, 1);
    for (const read of readers) {
      const failure = await failureOf(read());
      expect(failure).toMatchObject({ type: 'keybrake.source_changed', nonRetryable: true });
      expect(failure.message).toMatch(new RegExp(`"${source.path}".*modified at 1970-01-01`));
    }
    writeFileSync(path, '{"id":1}\n');
    for (const read of readers) expect((await failureOf(read())).message).toContain('it has 9 bytes, not 18');
  });
});

/** What `prepare` says in a process without root's rights, for which every folder is open. It runs the built files. */
function preparedByNobody(input: object, folder: string): string {
  const script = `
    const { prepare } = require(process.argv[1]);
    const { Blocks } = require(process.argv[1] + '/blocks');
    if (process.getuid() === 0) process.setuid(65534);
    const env = { sourceDir: process.argv[2], host: 'worker-3', blocks: new Blocks() };
    prepare(JSON.parse(process.argv[3]), { workflowId: 'w', firstExecutionRunId: 'r' }, env)
      .then(() => 'planned', (error) => error.message)
      .then((said) => process.stdout.write(said));`;
  const built = join(__dirname, '../lib/activities/sources');
  return execFileSync(process.execPath, ['-e', script, built, folder, JSON.stringify(input)], { encoding: 'utf8' });
}
