// A ledger on a disk that becomes full of its log: a limit on the size of files stands in for it. argv[2]: the ledger's path.
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';

const require = createRequire(import.meta.url);
const { openSqlite } = require('../../lib/proxy/stores/sqlite/index.js');
const { connect } = require('../../lib/proxy/stores/sqlite/schema.js');

const MIB = 1024 * 1024;
const path = process.argv[2];
const store = openSqlite(path, { logFileBytes: MIB, syncBytes: MIB / 4, ownBytesMax: Infinity });
const put = (name, value) => store.commit((rows) => rows.put('meta', { name, value }));

await put('n0', 'x');
await store.listKeys({ limit: 1 });
const reader = connect(path);
reader.exec('BEGIN');
reader.prepare('SELECT count(*) FROM meta').get();
try {
  for (let index = 0; index < 100; index += 1) await put(`n${index % 2}`, 'x'.repeat(MIB));
} catch (error) {
  console.log(error.message);
}
reader.exec('COMMIT');
reader.close();

const until = Date.now() + 10_000;
let taken = false;
while (!taken && Date.now() < until) {
  taken = await put('more', 'y'.repeat(2 * MIB)).then(
    () => true,
    () => sleep(20, false),
  );
}
console.log(taken ? 'taken' : 'not taken');
await store.close();
