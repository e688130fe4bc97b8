import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { REFUSALS } from '../proxy/contract';
import { VARIABLES } from '../src/config';

const root = join(__dirname, '..');
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const BLOCK = /(<!-- refusals:[^\n]*-->\n)([\s\S]*?)(<!-- \/refusals -->)/;

function table(): string {
  const rows = Object.entries(REFUSALS).map(
    ([code, { status, retry, meaning }]) => `| \`${code}\` | ${status} | ${retry ? 'yes' : 'no'} | ${meaning} |`,
  );
  return ['', '| code | HTTP | may a retry succeed? | meaning |', '| --- | --- | --- | --- |', ...rows, '', ''].join(
    '\n',
  );
}

describe('the README', () => {
  test('lists every refusal as the code has it (UPDATE_README=1 writes the table)', () => {
    if (process.env['UPDATE_README'] === '1') {
      writeFileSync(
        join(root, 'README.md'),
        readme.replace(BLOCK, (_, open, __, close) => open + table() + close),
      );
      return;
    }
    expect(BLOCK.exec(readme)?.[2]).toBe(table());
  });

  test('links only to files that exist', () => {
    const links = [...readme.matchAll(/\]\(([^)#:]+)\)/g)].map(([, path]) => path ?? '');
    expect(links.length).toBeGreaterThan(3);
    expect(links.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });

  test('names every variable', () => {
    // Those of Twilio and Resend are told beside Stripe's.
    const names = Object.keys(VARIABLES).map((name) => name.replace(/_(?:TWILIO|RESEND)_/, '_STRIPE_'));
    expect(names.filter((name) => !readme.includes(`\`${name}\``) && !readme.includes(`\`${name}=1\``))).toEqual([]);
  });

  test('names every import path of the package', () => {
    const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { exports: object };
    const paths = Object.keys(exports).filter((path) => path !== './package.json');
    for (const path of paths) expect(readme).toContain(`\`${path.replace('.', 'keybrake-temporal')}\``);
  });
});
