import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createVendors } from '../proxy/vendors';

const PATH = join(__dirname, '../docs/vendors.md');
const BLOCK = /(<!-- routes:[^\n]*-->\n)([\s\S]*?)(<!-- \/routes -->)/;

function routes(): string {
  const blocks = [...createVendors()].map(([id, { routes: table }]) => {
    return ['', `### ${id}`, '', '```text', ...table.map(({ name }) => name), '```'].join('\n');
  });
  return `${blocks.join('\n')}\n\n`;
}

describe('docs/vendors.md', () => {
  test('lists every route as the code has it (UPDATE_README=1 writes it)', () => {
    const text = readFileSync(PATH, 'utf8');
    if (process.env['UPDATE_README'] === '1') {
      writeFileSync(
        PATH,
        text.replace(BLOCK, (_, open, __, close) => open + routes() + close),
      );
      return;
    }
    expect(BLOCK.exec(text)?.[2]).toBe(routes());
  });

  test('links only to files that exist', () => {
    const links = [...readFileSync(PATH, 'utf8').matchAll(/\]\(([^)#:]+)\)/g)].map(([, path]) => path ?? '');
    expect(links.filter((path) => !existsSync(join(dirname(PATH), path)))).toEqual([]);
  });
});
