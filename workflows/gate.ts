/** Lets calls through, or not: one gate for a root or a shard. The window asks it before each call. */
import type { TerminalRefusal } from '../proxy/contract';
import type { Control } from './definitions';

export class Gate {
  #keyId: string;
  #epoch: number;
  #paused: boolean;
  #version: number;
  #held: TerminalRefusal | undefined;
  #closed = false;
  readonly #onHeld: (code: TerminalRefusal, epoch: number) => void;

  constructor(control: Control, onHeld: (code: TerminalRefusal, epoch: number) => void) {
    this.#keyId = control.keyId;
    this.#epoch = control.epoch;
    this.#paused = control.paused;
    this.#version = control.version ?? 0;
    this.#onHeld = onHeld;
  }

  get control(): Control {
    return { keyId: this.#keyId, epoch: this.#epoch, paused: this.#paused, version: this.#version };
  }

  get keyId(): string {
    return this.#keyId;
  }

  get epoch(): number {
    return this.#epoch;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** The refusal that holds the calls back until the cap is raised, the key replaced or the gate closed. */
  get held(): TerminalRefusal | undefined {
    return this.#held;
  }

  /** No call is started any more. */
  get closed(): boolean {
    return this.#closed;
  }

  get open(): boolean {
    return !this.#closed && !this.#paused && this.#held === undefined;
  }

  /** A call of `epoch` met a terminal refusal. What was refused before the last release says nothing new. */
  refuse(code: TerminalRefusal, epoch: number): void {
    if (epoch !== this.#epoch || this.#held !== undefined || this.#closed) return;
    this.#held = code;
    this.#onHeld(code, epoch);
  }

  /** The cap was raised, or another key is in place. */
  release(keyId = this.#keyId): void {
    this.#keyId = keyId;
    this.#epoch += 1;
    this.#version += 1;
    this.#held = undefined;
  }

  pause(paused: boolean): void {
    this.#paused = paused;
    this.#version += 1;
  }

  /** What the root says, in a shard. An older epoch than its own comes from before and is not news. */
  follow({ keyId, epoch, paused, version = 0 }: Control): void {
    if (version < this.#version) return;
    this.#version = version;
    this.#paused = paused;
    if (epoch <= this.#epoch) return;
    this.#keyId = keyId;
    this.#epoch = epoch;
    this.#held = undefined;
  }

  close(): void {
    this.#closed = true;
  }
}
