/** Sources: planned once, read again in parts, and every record met exactly once. */
import { pageOf, prepare, readChunks, readPage, readRecord } from '../activities/sources';
import { SHARD_RECORDS } from '../activities/sources/shards';
import {
  ENDPOINT,
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
} from './source-fixture';

afterAll(removeSources);

describe('JSON lines', () => {
  test('records, lines and offsets are found among blank lines, CRLF and a byte order mark', async () => {
    const content = '\ufeff{"id":"a"}\r\n\n  \t\r\n{"id":"é"}\n\n{"id":"c"}';
    const plan = await planOf('jsonl', content);
    expect(plan).toMatchObject({ records: 3, source: { sizeBytes: Buffer.byteLength(content), header: [] } });
    expect((await itemsOf(plan)).map(({ ref }) => `${ref.id} ${ref.line}`)).toEqual(['a 1', 'é 4', 'c 6']);
    for (const ref of await refsOf(plan, 2)) {
      expect(await readRecord(plan.source, ref, env)).toEqual({ id: ref.id });
    }
  });

  test.each([
    ['{"id":', 'line 2: is not valid JSON'],
    ['[1]', 'line 2: is not a JSON object'],
    ['{"id":null}', 'line 2: the record id "id" is null'],
    ['{"id":""}', 'line 2: the record id "id" is empty'],
    ['{"id":{"a":1}}', 'line 2: the record id "id" is not a single value'],
    ['{"di":1}', 'line 2: the record id "id" is missing'],
    ['{"id":12345678901234567890}', 'line 2: the record id "id" is a number too large to be exact; write it as text'],
    ['{"id":"\\ud800"}', 'line 2: the record id "id" is not valid Unicode'],
    [`{"id":"${'x'.repeat(1_001)}"}`, 'line 2: the record id "id" is longer than 1000 characters'],
    [Buffer.from('{"id":"\xff"}', 'latin1'), 'line 2: is not UTF-8'],
    [`{"id":"a","x":"${'x'.repeat(3_000_000)}"}`, 'line 2: is larger than 1048576 bytes'],
  ])('line %# of odd ones fails alone, naming its line', async (line, reason) => {
    const content = Buffer.concat(['{"id":1}\n', line, '\n{"id":true}\n'].map((part) => Buffer.from(part as string)));
    const plan = await planOf('jsonl', content);
    for (const refs of [(await itemsOf(plan)).map(({ ref }) => ref), await refsOf(plan, 10)]) {
      expect(refs.map(({ id }) => id)).toEqual(['1', null, 'true']);
      expect(refs[1]).toMatchObject({ id: null, line: 2, reason });
      expect(refs[2]!.line).toBe(3);
    }
  });

  test.each(['SECRET', '["SECRET"]', '"SECRET"', '7'])(
    'a first line %j that is no object refuses the file',
    async (line) => {
      const failure = await failureOf(planOf('jsonl', `\n${line}\n{"id":1}\n`));
      expect(failure).toMatchObject(INVALID);
      expect(failure.message).toMatch(/source\.path: is not a file of JSON lines: line 2/);
      expect(failure.message).not.toContain('SECRET');
    },
  );

  test('an id from nested fields, and one that cannot be an activity id', async () => {
    const plan = await planOf('jsonl', '{"customer":{"id":"ü"}}', { recordId: 'customer.id' });
    const [ref] = await refsOf(plan, 1);
    expect(ref).toMatchObject({ id: 'ü', activityId: expect.stringMatching(/^rec_[0-9a-f]{64}$/) });
  });
});

describe('CSV', () => {
  const TEXT = 'id,amount,name\r\n1,"4,200","Jane ""JJ"" Doe"\r\n\r\n2,7,"two\nlines"\n   \n3,,\n4,1\n';

  test('quoted commas, quotes and newlines are read; a row of another length fails alone', async () => {
    const plan = await planOf('csv', `\ufeff${TEXT}`);
    expect(plan).toMatchObject({ records: 4, source: { header: ['id', 'amount', 'name'] } });
    const items = await itemsOf(plan);
    expect(items.map(({ record }) => record)).toEqual([
      { id: '1', amount: '4,200', name: 'Jane "JJ" Doe' },
      { id: '2', amount: '7', name: 'two\nlines' },
      { id: '3', amount: '', name: '' },
      undefined,
    ]);
    expect(items.map(({ ref }) => ref.line)).toEqual([2, 4, 7, 8]);
    expect(items[3]!.ref).toMatchObject({ id: null, reason: 'line 8: has 2 columns, the header has 3' });
    for (const { ref, record } of items.slice(0, 3)) expect(await readRecord(plan.source, ref, env)).toEqual(record);
  });

  test.each([
    ['id,a\n1,x\n2,"SECRET\n3,x\n', /line 3: a quote is opened and never closed/],
    ['id,a\n1,SEC"RET\n', /line 2: a quote stands within an unquoted field/],
    ['id,a\n1,"SECRET"x\n', /line 2: a quoted field goes on after its closing quote/],
    ['id,a\n1,"SECRET"\r"x"\n', /line 2: /],
    ['id,id\n1,2\n', /header, has two columns "id"/],
    ['id,\n1,2\n', /header, has no name for column 2/],
    ['id\rx\r1\n', /carriage return/],
    [Buffer.from('id,a\n1,2\n', 'utf16le'), /not UTF-8|not a column/],
    [Buffer.from('\ufeffid,a\n1,2\n', 'utf16le'), /not UTF-8/],
  ])('%j refuses the file, naming the line', async (content, message) => {
    const failure = await failureOf(planOf('csv', content));
    expect(failure).toMatchObject(INVALID);
    expect(failure.message).toMatch(message);
    expect(failure.message).not.toContain('SECRET');
  });

  test('every field that the input names must be a column', async () => {
    const call = {
      endpoint: `${ENDPOINT}/{{pi}}/capture`,
      params: { amount: '{{amout}}', metadata: { x: '{{name}}' } },
    };
    const key = { vendor: 'stripe', usdCap: 5, allowedEndpoints: [`${ENDPOINT}/:id/capture`], ttl: '1h' };
    const failure = await failureOf(planOf('csv', TEXT, { call, key, recordId: 'ID' }));
    expect(failure).toMatchObject(INVALID);
    expect(failure.message.split('\n').slice(1)).toEqual([
      'recordId: "ID" is not a column of the source. Did you mean "id"? Columns: id, amount, name',
      'call.endpoint: "pi" is not a column of the source. Columns: id, amount, name',
      'call.params.amount: "amout" is not a column of the source. Did you mean "amount"? Columns: id, amount, name',
    ]);
  });

  test.each([
    ['a first record in place of a header', 'cus_1,jane.SECRET@a.test,4200\ncus_2,x@a.test,1\n'],
    ['a file of one secret', 'xQoMMSECRETG7jTng\n'],
  ])('%s is not shown', async (_what, content) => {
    const failure = await failureOf(planOf('csv', content));
    expect(failure).toMatchObject(INVALID);
    expect(failure.message).toContain(
      '"id" is not a column of the source. Its first line does not look like the names',
    );
    expect(failure.message).not.toContain('SECRET');
  });

  test.each(['', '\n\n', 'id,amount\n', '\ufeff'])('a file without records, %j, is a plan of none', async (content) => {
    expect(await planOf('csv', content)).toMatchObject({ records: 0, shards: [] });
    expect(await planOf('jsonl', content.includes('id') ? '' : content)).toMatchObject({ records: 0, shards: [] });
  });
});

describe('shards', () => {
  test('a million records make shards of even size, at record boundaries, in seconds', async () => {
    const lines = Array.from({ length: 1_000_000 }, (_, index) => `{"id":"cus_${index}","amount_cents":4200}\n`);
    const plan = await planOf('jsonl', lines.join(''));
    expect(plan.records).toBe(1_000_000);
    expect(plan.shards).toHaveLength(50);
    expect(plan.shards.every(({ records }) => records === SHARD_RECORDS)).toBe(true);
    expect(plan.shards[7]).toMatchObject({ index: 7, firstLine: 140_001, end: plan.shards[8]!.start });
    const { start, end, firstLine } = plan.shards[7]!;
    const range = { limit: 3, end, recordId: 'id' };
    const page = await readPage(plan.source as FileSource, { offset: start, line: firstLine }, range, env);
    expect(page.refs.map(({ id, line }) => [id, line])).toEqual([
      ['cus_140000', 140_001],
      ['cus_140001', 140_002],
      ['cus_140002', 140_003],
    ]);
    const chunks = await readChunks(
      plan.source as FileSource,
      { offset: start, line: firstLine },
      { limit: 4, end, recordsPerChunk: 1_000 },
      env,
    );
    expect(chunks.chunks.map(({ firstLine: line, records }) => [line, records])).toEqual([
      [140_001, 1_000],
      [141_001, 1_000],
      [142_001, 1_000],
      [143_001, 1_000],
    ]);
    expect(chunks.next).toEqual({ offset: chunks.chunks[3]!.end, line: 144_001 });
  });
});

describe('pages', () => {
  test('a page of long ids stays below the limit of a payload, and no record is lost', async () => {
    const ids = Array.from({ length: 1_000 }, (_, index) => `${index}-${'ü'.repeat(900)}`);
    const plan = await planOf('jsonl', ids.map((id) => JSON.stringify({ id })).join('\n'));
    const { start, end } = plan.shards[0]!;
    const limits = { limit: 1_000, end, recordId: 'id' };
    const page = await readPage(plan.source as FileSource, { offset: start, line: 1 }, limits, env);
    expect(Buffer.byteLength(JSON.stringify(page))).toBeLessThan(128 * 1024);
    expect((await refsOf(plan, 1_000)).map(({ id }) => id)).toEqual(ids);
  });

  test('records larger than what is read at once are read whole', async () => {
    const records = [200_000, 10, 700_000, 1_000_000, 5].map((size, index) => ({
      id: `r${index}`,
      x: 'é'.repeat(size / 2),
    }));
    const plan = await planOf('jsonl', records.map((record) => JSON.stringify(record)).join('\n'));
    expect((await itemsOf(plan)).map(({ record }) => record)).toEqual(records);
    expect((await refsOf(plan, 2)).map(({ id }) => id)).toEqual(records.map(({ id }) => id));
  });
});

describe('inline', () => {
  test('records keep their index and come with their references', async () => {
    const records = [{ id: 'a' }, { no: 1 }, { id: 3 }];
    const plan = await prepare(inputFor({ kind: 'inline', records }), FACTS, env);
    expect(plan).toMatchObject({ records: 3, shards: [{ index: 0, start: 0, end: 3, firstLine: 1, records: 3 }] });
    const refs = await refsOf(plan, 2);
    expect(refs.map(({ id, offset, line }) => `${id} ${offset} ${line}`)).toEqual(['a 0 1', 'null 1 2', '3 2 3']);
    expect(await readRecord({ kind: 'inline', records: [] }, refs[2]!, env)).toEqual({ id: 3 });
    expect((await itemsOf(plan)).map(({ record }) => record)).toEqual(records);
  });

  test('none is a plan of none; the user’s own reader is one open range', async () => {
    expect(await prepare(inputFor({ kind: 'inline', records: [] }), FACTS, env)).toMatchObject({
      records: 0,
      shards: [],
    });
    const own = await prepare(inputFor({ kind: 'activity', activity: 'read' }), FACTS, env);
    expect(own).toMatchObject({ records: null, shards: [{ start: 0, firstLine: 1 }] });
    expect(pageOf([{ id: 1 }, 7], 40, { limit: 9, recordId: 'id' })).toEqual({
      refs: [
        { id: '1', offset: 40, length: 0, line: 41, record: { id: 1 } },
        { id: null, offset: 41, length: 0, line: 42, reason: 'line 42: is not an object' },
      ],
      next: null,
    });
  });
});
