/** The architecture as data: each folder, and what it may import. DESIGN: imports go one way. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

const root = join(__dirname, '..');
const FOLDERS = ['proxy', 'activities', 'workflows', 'src', 'examples'];

interface Rule {
  /** Files that the rule is for, by path from the root; the first rule that matches counts. */
  readonly files: RegExp;
  readonly own: RegExp;
  readonly packages: RegExp;
  /** What may be imported as types only. */
  readonly types?: RegExp;
}

// prettier-ignore
const RULES: readonly Rule[] = [
  { files: /^proxy\/controlErrors$/,       own: /^$/,                                  packages: /^$/ },
  { files: /^proxy\/contract$/,            own: /^proxy\/controlErrors$/,              packages: /^$/ },
  { files: /^proxy\/retention$/,           own: /^$/,                                  packages: /^$/ },
  { files: /^proxy\/endpoints$/,           own: /^$/,                                  packages: /^$/, types: /^proxy\/contract$/ },
  { files: /^proxy\/drift\/lines$/,        own: /^$/,                                  packages: /^$/, types: /^proxy\/contract$/ },
  { files: /^proxy\/client$/,              own: /^proxy\/(contract|endpoints|retention|drift\/lines)$/, packages: /^undici$/ },
  { files: /^proxy\/vendors\//,            own: /^proxy\/(vendors\/|contract$|endpoints$|reading$|form$|json$)/, packages: /^(node:|fastest-levenshtein$|libphonenumber-js|sms-segments-calculator$)/ },
  { files: /^proxy\/ledger\//,             own: /^proxy\/(ledger\/|stores\/|contract$|retention$|vendors\/vendor$)/, packages: /^node:/ },
  { files: /^proxy\/stores\//,             own: /^proxy\/(stores\/|contract$|retention$)/, packages: /^(node:|better-sqlite3$|pg$)/ },
  { files: /^proxy\//,                     own: /^proxy\//,                            packages: /^(node:|undici$|pino$|prom-client$|hono|@hono\/|ms$|fastest-levenshtein$)/ },
  { files: /^activities\/contract\//,      own: /^(activities\/contract\/|proxy\/(contract|endpoints)$)/, packages: /^@temporalio\/common$/ },
  { files: /^activities\//,                own: /^(activities\/|proxy\/(contract|client|endpoints)$)/,
    packages: /^(node:|undici$|zod$|ms$|csv-parse|fastest-levenshtein$|stripe$|twilio$|resend$|@temporalio\/(activity|common|client)$)/,
    types: /^@temporalio\/worker$/ },
  { files: /^workflows\//,                 own: /^(workflows\/|activities\/contract\/|proxy\/contract$)/,
    packages: /^@temporalio\/(workflow|common)$/, types: /^activities\// },
  { files: /^src\/sandbox\//,              own: /^src\/sandbox(\/|$)/,                 packages: /^(node:|zod$)/ },
  { files: /^src\//,                       own: /^(src|workflows|activities|proxy)(\/|$)/, packages: /./ },
  { files: /^examples\//,                  own: /^(examples\/|src(\/testing)?$|workflows$|activities$)/, packages: /^@temporalio\// },
];

interface Import {
  readonly of: string;
  readonly typeOnly: boolean;
}

function filesIn(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name).replace(/\.ts$/, ''));
}

/** Static imports and exports, and `require.resolve`, as paths from the root or package names. */
function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, `${file}.ts`), 'utf8');
  const statements = text.matchAll(/^(import|export)\s+(type\s)?([^;'"]*?from\s+)?'([^']+)';/gms);
  return [...statements].map(([, , type, , path = '']) => ({
    of: path.startsWith('.') ? relative(root, resolve(root, dirname(file), path)).replace(/\/index$/, '') : path,
    typeOnly: type !== undefined,
  }));
}

const files = FOLDERS.flatMap(filesIn);

describe('the layout', () => {
  test('there are files to look at in every folder', () => {
    for (const folder of FOLDERS) expect(files.some((file) => file.startsWith(folder))).toBe(true);
    expect(files.flatMap(importsOf).length).toBeGreaterThan(500);
  });

  test.each(files)('%s imports only what its folder may', (file) => {
    const rule = RULES.find((candidate) => candidate.files.test(file));
    const wrong = importsOf(file).filter(({ of, typeOnly }) => {
      const mine = FOLDERS.includes(of.split('/')[0] ?? '');
      return !((mine ? rule?.own : rule?.packages)?.test(of) || (typeOnly && rule?.types?.test(of)));
    });
    expect(wrong.map(({ of }) => of)).toEqual([]);
  });

  test.each(files)('%s is short enough to read', (file) => {
    const lines = readFileSync(join(root, `${file}.ts`), 'utf8').split('\n');
    expect(lines.length).toBeLessThanOrEqual(330);
    // Tables are kept wide on purpose.
    const table = lines.some((line) => line.includes('prettier-ignore'));
    // A regular expression and a text of the vendor's cannot be broken.
    const long = lines.filter((line) => line.length > 130 && !/^\s*['/`]/.test(line));
    expect(table ? [] : long).toEqual([]);
  });
});
