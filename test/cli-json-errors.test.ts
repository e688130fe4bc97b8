/** With `--json` an error is one line of JSON on stderr, whatever it is about. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApplicationFailure } from '@temporalio/common';
import { codeOf } from '../src/cli/errorCode';
import { CliError } from '../src/cli/errors';
import { keybrake } from './support/cli';

const KEYS = { KEYBRAKE_URL: 'http://127.0.0.1:9', KEYBRAKE_API_KEY: 'kb_admin_0123456789abcdef' };

const cases: readonly (readonly [what: string, args: string[], env: Record<string, string>, code: string, RegExp])[] = [
  ['an unknown flag', ['keys', '--json', '--nothing'], KEYS, 'usage', /unknown option '--nothing'/],
  ['a wrong value', ['keys', 'list', '--json', '--limit', 'x'], KEYS, 'usage', /--limit <n>.*whole number/],
  ['a missing argument', ['revoke', '--json'], KEYS, 'usage', /missing required argument 'id'/],
  ['an unknown command', ['stauts', '--json'], KEYS, 'usage', /unknown (command|option)/],
  ['a contradiction', ['status', '--json'], KEYS, 'error', /Name a workflow, a key/],
  ['a wrong environment', ['keys', '--json'], { KEYBRAKE_PORT: 'x' }, 'config', /KEYBRAKE_PORT/],
  ['no proxy', ['keys', '--json'], KEYS, 'unreachable', /No answer from the proxy/],
  [
    'no Temporal',
    ['status', 'x', '--json', '--temporal-address', '127.0.0.1:9'],
    KEYS,
    'temporal_unreachable',
    /Temporal/,
  ],
];

test.each(cases)('%s', async (_what, args, env, code, message) => {
  const ended = await keybrake(args, { env, cwd: mkdtempSync(join(tmpdir(), 'keybrake-json-')) });
  expect([ended.code, ended.stdout]).toEqual([1, '']);
  expect(ended.stderr).toMatch(/^[^\n]+\n$/);
  expect(JSON.parse(ended.stderr)).toEqual({
    error: { code: expect.stringMatching(new RegExp(`^(${code})$`)), message: expect.stringMatching(message) },
  });
});

test('a comparison that could not be read says so as JSON, with its own exit code', async () => {
  const { code, stderr } = await keybrake(['audit', '--reconcile', '--job', 'x', '--json'], { env: KEYS });
  expect([code, JSON.parse(stderr)]).toMatchObject([2, { error: { code: 'unreachable' } }]);
});

test('help and version stay what they are', async () => {
  const [help, version] = await Promise.all([
    keybrake(['keys', '--json', '--help']),
    keybrake(['--version', '--json']),
  ]);
  expect(help).toMatchObject({ code: 0, stderr: '', stdout: expect.stringContaining('Usage: keybrake keys') });
  expect(version).toMatchObject({ code: 0, stderr: '', stdout: expect.stringMatching(/^\d+\.\d+\.\d+/) });
});

test('without --json errors are words for people', async () => {
  const { stderr } = await keybrake(['keys', '--nothing'], { env: KEYS });
  expect(stderr).toMatch(/^error: unknown option '--nothing'\n\(--help shows what there is\)/);
});

test("a failure of Temporal's is known by its type, also behind words for people; what has no code is an error", () => {
  const failure = ApplicationFailure.create({ type: 'keybrake.invalid_input', message: 'x' });
  expect(codeOf(failure)).toBe('keybrake.invalid_input');
  expect(codeOf(new CliError('words', { cause: failure }))).toBe('keybrake.invalid_input');
  expect(codeOf(new CliError('words'))).toBe('error');
  expect(codeOf('words')).toBe('error');
});
