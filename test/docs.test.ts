import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { OUTCOMES } from '../activities/contract/plan';
import { HEADERS } from '../proxy/contract';
import { issueKeyBody } from '../proxy/control/schemas';
import { createVendors } from '../proxy/vendors';
import * as testing from '../src/testing';

const DOCS = join(__dirname, '../docs');
const PATH = join(DOCS, 'vendors.md');
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
});

describe('the pages', () => {
  test.each(readdirSync(DOCS))('%s links only to files that exist', (page) => {
    const links = [...readFileSync(join(DOCS, page), 'utf8').matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)];
    expect(links.filter(([, path]) => !existsSync(join(DOCS, path ?? '')))).toEqual([]);
  });

  // prettier-ignore
  test.each([
    ['input.md', 'outcome of a record', [...OUTCOMES]],
    ['testing.md', 'export', Object.keys(testing)],
    ['http.md', 'field of a key', Object.keys(issueKeyBody.shape)],
    ['http.md', 'header', Object.values(HEADERS).filter((name) => name.startsWith('keybrake-'))],
  ])('%s names every %s', (page, _what, names) => {
    const text = readFileSync(join(DOCS, page), 'utf8').toLowerCase();
    expect(names.filter((name) => !text.includes(`\`${name.toLowerCase()}\``))).toEqual([]);
  });
});
