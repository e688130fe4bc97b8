// A proxy in a process of its own, on the options in argv[2]; it says where it listens, and drains on SIGTERM.
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const { startProxy } = require('../../lib/proxy/index.js');
const { pino } = require('pino');

const logger = pino({ level: 'warn' }, pino.destination({ fd: 2, sync: true }));
const proxy = await startProxy({ ...JSON.parse(process.argv[2]), logger });
console.log(`proxy on ${proxy.url}`);
process.once('SIGTERM', () => void proxy.close().then(() => process.exit(0)));
