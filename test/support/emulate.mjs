/** Runs the vendor stand-in `emulate` for one service on any free port, until the input ends. Argument: the service. */
import { once } from 'node:events';
import { Server } from 'node:net';
import { createEmulator } from 'emulate';

// It listens on every interface and has no option for another address.
const listen = Reflect.get(Server.prototype, 'listen');
Server.prototype.listen = function (port) {
  this.once('listening', () => console.log(`http://127.0.0.1:${this.address().port}`));
  return Reflect.apply(listen, this, [port, '127.0.0.1']);
};

await createEmulator({ service: process.argv[2], port: 0 });
await once(process.stdin.resume(), 'end');
process.exit();
