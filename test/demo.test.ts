import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const DEMO = join(__dirname, '../lib/src/demo.js');

test('the demo holds from end to end, and cleans up', async () => {
  const left = readdirSync(tmpdir()).filter((name) => name.startsWith('keybrake-demo-'));
  const child = spawn(process.execPath, [DEMO], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += String(chunk)));
  const [code] = await once(child, 'close');
  expect(output).toMatch(/All \d+ checks hold/);
  expect(output).not.toContain('✗');
  expect(code).toBe(0);
  expect(readdirSync(tmpdir()).filter((name) => name.startsWith('keybrake-demo-'))).toEqual(left);
}, 180_000);

test.each([
  ['SIGHUP', 129],
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)(
  'a demo that %s ends exits with %i, and cleans up',
  async (signal, expected) => {
    const folder = mkdtempSync(join(tmpdir(), 'keybrake-test-'));
    const env = { ...process.env, TMPDIR: folder };
    const child = spawn(process.execPath, [DEMO], { env, stdio: ['ignore', 'pipe', 'ignore'] });
    await once(child.stdout, 'data');
    expect(readdirSync(folder)).toHaveLength(1);
    child.kill(signal);
    expect(await once(child, 'close')).toEqual([expected, null]);
    expect(readdirSync(folder)).toEqual([]);
  },
  30_000,
);
