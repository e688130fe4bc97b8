/**
 * Outcomes that the store cannot take now, kept in files beside the proxy until it can, also across a restart. Each is
 * sealed under the master key and bound to its call: whoever can write to the folder can invent none.
 */
import { access, constants, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Logger } from 'pino';
import { type Repeat, unrecordedRefusal } from './failures';
import { newId } from './ids';
import { finish, type Outcome } from './ledger/finish';
import type { Ledger } from './ledger/ledger';
import type { Seal } from './seal';

/** `<call id>.<id of the record>`; while it is written it has an ending more. */
const RECORD = /^(call_[0-9a-z]+)\.req_[0-9a-z]+$/;

export class Spool {
  readonly #folder: string;
  readonly #seal: Seal;
  readonly #logger: Logger;

  constructor(folder: string, seal: Seal, logger: Logger) {
    this.#folder = resolve(folder);
    this.#seal = seal;
    this.#logger = logger;
  }

  /** Makes the folder. Throws an Error that says what to do when nothing can be written there. */
  async prepare(): Promise<void> {
    try {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      await access(this.#folder, constants.R_OK | constants.W_OK | constants.X_OK);
    } catch (cause) {
      const wayOut = 'name one that can with KEYBRAKE_SPOOL, on a disk that outlives the process.';
      throw new Error(`The spool folder ${this.#folder} cannot be written: ${wayOut}`, { cause });
    }
  }

  /**
   * Resolves once the outcome is on disk, which is when its caller may hear it; it is forgotten once it is `recorded`.
   * Throws {@link Refusal} `outcome_unknown` when it cannot be kept here either.
   */
  async keepUntil(recorded: Promise<unknown>, callId: string, outcome: Outcome, repeat: Repeat): Promise<void> {
    try {
      const forget = await this.#keep(callId, outcome);
      this.#logger.warn({ call: callId, state: outcome.state }, 'the store cannot be written: an outcome is spooled');
      recorded.then(forget).catch((error: unknown) => {
        this.#logger.error({ err: error, call: callId }, 'an outcome stays spooled');
      });
    } catch (cause) {
      this.#logger.error({ err: cause, call: callId }, 'an outcome cannot be spooled; its money stays held');
      throw unrecordedRefusal(callId, repeat, cause);
    }
  }

  /** Answers how to forget it, for when the store has taken it. */
  async #keep(callId: string, outcome: Outcome): Promise<() => Promise<void>> {
    const path = join(this.#folder, `${callId}.${newId('req')}`);
    const file = await open(`${path}.new`, 'wx', 0o600);
    try {
      await file.writeFile(this.#seal.seal(Buffer.from(JSON.stringify(outcome)), boundTo(callId)));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${path}.new`, path);
    await this.#syncFolder();
    return () => rm(path, { force: true });
  }

  /** Records what a former process kept. An outcome that cannot be recorded stays where it is, and the log says so. */
  async apply(ledger: Ledger): Promise<void> {
    for (const name of await readdir(this.#folder)) {
      const callId = RECORD.exec(name)?.[1];
      if (callId === undefined) continue;
      const path = join(this.#folder, name);
      try {
        const plain = this.#seal.open(await readFile(path), boundTo(callId));
        const outcome = JSON.parse(plain.toString(), buffers) as Outcome;
        await ledger.record((rows, now) => finish(rows, now, callId, outcome));
        await rm(path, { force: true });
        this.#logger.warn({ call: callId, state: outcome.state }, 'a spooled outcome is in the ledger now');
      } catch (error) {
        this.#logger.error({ err: error, path }, 'a spooled outcome cannot be recorded; its money stays held');
      }
    }
  }

  /** The name of a new file is durable with its folder. */
  async #syncFolder(): Promise<void> {
    const folder = await open(this.#folder, 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }
}

function boundTo(callId: string): string {
  return `spool/${callId}`;
}

/** What `Buffer.toJSON` wrote. */
function buffers(_: string, value: unknown): unknown {
  const { type, data } = (value ?? {}) as { readonly type?: unknown; readonly data?: unknown };
  return type === 'Buffer' && Array.isArray(data) ? Buffer.from(data as number[]) : value;
}
