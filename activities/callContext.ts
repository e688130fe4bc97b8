/** What `vault()` finds in an activity: whose key pays, and what the proxy answered to this activity so far. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { ApplicationFailure } from '@temporalio/common';
import { isTerminalRefusal, REFUSALS } from '../proxy/contract';
import type { VaultHeader } from './contract/headers';
import { type Refused, refusalIn, terminalCodeOf } from './failures';
import { type Caller, isReplay } from './recordCall';
import type { Runtime } from './runtime';
import { vendorCodeOf } from './vendorAnswers';

export interface LastAnswer {
  readonly status: number;
  readonly refused?: Refused;
  readonly code?: string;
}

export class CallContext {
  readonly runtime: Runtime;
  readonly header: VaultHeader | undefined;
  readonly caller: Caller;
  #ambiguous = false;
  #terminal: Refused | undefined;
  #failure: ApplicationFailure | undefined;
  #last: LastAnswer | undefined;
  #unserved = false;

  constructor(runtime: Runtime, header: VaultHeader | undefined, caller: Caller) {
    this.runtime = runtime;
    this.header = header;
    this.caller = caller;
  }

  /** The first terminal refusal: whatever the activity throws after it becomes that. */
  get terminal(): Refused | undefined {
    return this.#terminal;
  }

  /** The key was dead before anything was sent: whatever the activity throws after it becomes that. */
  get failure(): ApplicationFailure | undefined {
    return this.#failure;
  }

  /** The answer to the last call. */
  get last(): LastAnswer | undefined {
    return this.#last;
  }

  /** Did the last call come to nothing, because the proxy or the vendor was not there for it? A later one may go through. */
  get unserved(): boolean {
    return this.#unserved;
  }

  /** Must the ledger be asked what the calls of this activity came to? */
  get ambiguous(): boolean {
    return this.#ambiguous;
  }

  /** Takes note of a call that could not be made: a vendor's SDK hides why behind an error of its own. */
  failed(error: unknown): void {
    this.#unserved = true;
    // It may have left before its connection broke.
    this.#ambiguous = true;
    if (error instanceof ApplicationFailure && terminalCodeOf(error) !== undefined) this.#failure ??= error;
  }

  /** Takes note of an answer of the data plane. */
  answered(status: number, headers: Readonly<Record<string, unknown>>, body: unknown): void {
    const refused = status >= 400 ? refusalIn(body, headers) : undefined;
    const code = vendorCodeOf(body);
    if (status >= 300 || isReplay({ headers })) this.#ambiguous = true;
    this.#unserved = refused !== undefined && REFUSALS[refused.code].retry && refused.code !== 'outcome_unknown';
    this.#last = { status, ...(refused !== undefined && { refused }), ...(code !== undefined && { code }) };
    if (refused === undefined || !isTerminalRefusal(refused.code)) return;
    this.#terminal ??= refused;
    if (refused.code === 'key_invalid' && this.header !== undefined) this.runtime.tokens.forget(this.header.keyId);
  }
}

export const callContexts = new AsyncLocalStorage<CallContext>();
