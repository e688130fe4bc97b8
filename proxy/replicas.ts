/**
 * This process among those that share the store: it says that it lives, takes over what the dead have left, has its
 * share of each account's pace, and does not call a key revoked before no process can send with it any more.
 */
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { Ledger } from './ledger/ledger';
import { SEND_BY_MS } from './ledger/reserve';
import { Burial } from './recover';
import type { PaceMessage, SharedPace } from './sharedPace';
import type { Shared } from './stores/store';

const BEAT_MS = 2_000;
/** A process whose heart has not beaten for so long, while the store could be reached, is dead. */
const DEAD_AFTER_MS = 10_000;
const PAGE = 500;
/** How often it is looked whether another process may still send with a revoked key, beside being told. */
const LOOK_MS = 100;
/** How much faster this machine's clock may go than another's within the time in which a call must leave. */
const CLOCKS_DRIFT_MS = 1_000;

export interface ReplicasDeps {
  readonly shared: Shared;
  readonly ledger: Ledger;
  /** Stops what this process has queued with a key, or one below it; answers how many such calls are at the vendor. */
  readonly kill: (keyId: string) => number;
  /** How long after its time to leave a call's answer may still come. */
  readonly underWayMs: number;
  readonly pace: SharedPace;
  readonly logger: Logger;
}

export interface Replicas {
  /** Resolves when no call with the key, or one below it, can leave any process. Answers how many are at the vendor. */
  revoked(keyId: string): Promise<number>;
  close(): Promise<void>;
}

type Message =
  | { readonly kind: 'revoked'; readonly id: string; readonly keyId: string }
  | { readonly kind: 'obeyed'; readonly id: string; readonly epoch: string; readonly inFlight: number }
  | PaceMessage;

/** Undefined: of a version that knows more kinds, or not of a proxy at all. Nothing depends on hearing it. */
function messageIn(text: string): Message | undefined {
  try {
    const message = JSON.parse(text) as Message | null;
    return message !== null && KINDS.has(message.kind) ? message : undefined;
  } catch {
    return undefined;
  }
}

const KINDS: ReadonlySet<unknown> = new Set<Message['kind']>(['revoked', 'obeyed', 'sharing', 'limited']);

export function startReplicas(deps: ReplicasDeps): Replicas {
  const { shared, ledger, kill, pace, logger } = deps;
  const asked = new Map<string, Obedience>();
  const watch = new Watch();

  shared.onTold((text) => {
    const message = messageIn(text);
    if (message === undefined) return;
    if (message.kind === 'obeyed') {
      asked.get(message.id)?.heard(message.epoch, message.inFlight);
      return;
    }
    if (message.kind !== 'revoked') {
      pace.heard(message);
      return;
    }
    const obeyed: Message = { kind: 'obeyed', id: message.id, epoch: shared.epoch, inFlight: kill(message.keyId) };
    // Nobody who asks depends on it: he looks into the store too.
    shared.tell(JSON.stringify(obeyed)).catch(() => undefined);
  });

  const burial = new Burial(ledger, logger, (after) => shared.orphans(deps.underWayMs, PAGE, after));
  let burying: Promise<void> | undefined;

  async function bury(): Promise<void> {
    try {
      await burial.round(performance.now());
    } catch (error) {
      logger.warn({ err: error }, 'calls of dead processes could not be marked unknown; it is tried again');
    }
  }

  async function round(): Promise<void> {
    try {
      await shared.beat();
      for (const epoch of watch.dead(await pace.look(), shared.epoch, performance.now())) {
        logger.warn(
          { epoch },
          'another process on the ledger is dead; its calls become unknown when their time is over',
        );
        await shared.declareDead(epoch);
      }
    } catch (error) {
      // Without the store nobody's heart can beat: all are given their time anew.
      watch.forget();
      logger.warn({ err: error }, 'the heartbeat did not reach the store');
      return;
    }
    // The heart waits for no burial: neither how long it takes nor its failure says anything about who lives.
    burying ??= bury().finally(() => (burying = undefined));
  }

  pace.start();
  let beating = Promise.resolve();
  let busy = false;
  const timer = setInterval(() => {
    if (busy) {
      // The beat waits for a commit of this process: who has come is counted all the same.
      pace.look().catch(() => undefined);
      return;
    }
    busy = true;
    beating = round().finally(() => (busy = false));
  }, BEAT_MS).unref();

  return {
    async revoked(keyId) {
      const mine = kill(keyId);
      const id = randomUUID();
      const obedience = new Obedience(shared.epoch);
      asked.set(id, obedience);
      try {
        const message: Message = { kind: 'revoked', id, keyId };
        await shared.tell(JSON.stringify(message)).catch(() => undefined);
        // The key was dead before this began. A server whose clock is behind that of the one before it says too much.
        const end = performance.now() + SEND_BY_MS + CLOCKS_DRIFT_MS;
        while (performance.now() < end && !obedience.allOf([...(await shared.leaving(keyId)).keys()])) {
          await obedience.more(LOOK_MS);
        }
        return mine + obedience.inFlight;
      } finally {
        asked.delete(id);
      }
    },
    async close() {
      clearInterval(timer);
      pace.close();
      await beating;
      await burying;
    },
  };
}

/** Which processes have said that nothing leaves with a key any more, and what each had at the vendor then. */
class Obedience {
  readonly #self: string;
  readonly #heard = new Map<string, number>();
  #wake: () => void = () => {};

  constructor(self: string) {
    this.#self = self;
  }

  heard(epoch: string, inFlight: number): void {
    if (epoch !== this.#self) this.#heard.set(epoch, inFlight);
    this.#wake();
  }

  allOf(epochs: readonly string[]): boolean {
    return epochs.every((epoch) => this.#heard.has(epoch));
  }

  /** Resolves at the next word, or after `ms`. */
  more(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  get inFlight(): number {
    return [...this.#heard.values()].reduce((sum, count) => sum + count, 0);
  }
}

interface Seen {
  readonly beats: number;
  readonly since: number;
}

/** Judges by what this process itself has seen, never by clocks: a store that was down made nobody's heart stop. */
export class Watch {
  #seen = new Map<string, Seen>();
  #lookedAt = 0;

  /** The processes whose heart has not beaten for {@link DEAD_AFTER_MS} of looking. `now` in milliseconds. */
  dead(living: readonly { readonly epoch: string; readonly beats: number }[], self: string, now: number): string[] {
    // Whoever has been asleep himself knows nothing about the others.
    if (now - this.#lookedAt > DEAD_AFTER_MS / 2) this.forget();
    this.#lookedAt = now;
    const before = this.#seen;
    this.#seen = new Map();
    const dead: string[] = [];
    for (const { epoch, beats } of living) {
      if (epoch === self) continue;
      const seen = before.get(epoch);
      const since = seen !== undefined && seen.beats === beats ? seen.since : now;
      this.#seen.set(epoch, { beats, since });
      if (now - since >= DEAD_AFTER_MS) dead.push(epoch);
    }
    return dead;
  }

  forget(): void {
    this.#seen.clear();
  }
}
