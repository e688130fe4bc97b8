import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

test('the demo holds from end to end, and cleans up', async () => {
  const left = readdirSync(tmpdir()).filter((name) => name.startsWith('keybrake-demo-'));
  const child = spawn(process.execPath, [join(__dirname, '../lib/src/demo.js')], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += String(chunk)));
  const [code] = await once(child, 'close');
  expect(output).toMatch(/All \d+ checks hold/);
  expect(output).not.toContain('✗');
  expect(code).toBe(0);
  expect(readdirSync(tmpdir()).filter((name) => name.startsWith('keybrake-demo-'))).toEqual(left);
}, 180_000);
