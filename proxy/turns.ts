/** One at a time: the turns that a call takes, and gives back once it has ended. */
import { Refusal } from './contract';
import type { Flights } from './inFlight';
import type { Steps } from './passage';

type TurnSteps = Pick<Steps, 'claims' | 'objects' | 'ledger' | 'claimWaitMs'>;
/** Writes a refusal down before it is thrown. */
type Recorded = (refusal: Refusal) => Promise<unknown>;

export class Turns {
  readonly #steps: TurnSteps;
  readonly #recorded: Recorded;
  readonly #given: (() => void)[] = [];
  readonly #objects = new Set<string>();
  #inLedger: string | undefined;

  constructor(steps: TurnSteps, recorded: Recorded) {
    this.#steps = steps;
    this.#recorded = recorded;
  }

  /** Of an idempotency key, or of a likeness. */
  takeClaim(scope: string, what: string): Promise<void> {
    return this.#take(this.#steps.claims, scope, what);
  }

  /** Of a vendor object. Answers false where the call has it already, by this name. */
  async takeObject(object: string): Promise<boolean> {
    if (this.#objects.has(object)) return false;
    await this.#take(this.#steps.objects, object, object);
    this.#objects.add(object);
    if (!this.#steps.ledger.store.exclusive) this.#inLedger = `object/${object}`;
    return true;
  }

  /** Where several processes share the ledger: the turn of the object in it, see `ReserveInput`. */
  get inLedger(): string | undefined {
    return this.#inLedger;
  }

  giveBack(): void {
    for (const giveBack of this.#given) giveBack();
  }

  async #take(flights: Flights, name: string, what: string): Promise<void> {
    const { claimWaitMs } = this.#steps;
    const giveBack = flights.takeFree(name) ?? (await flights.take(name, claimWaitMs));
    if (giveBack !== undefined) return void this.#given.push(giveBack);
    const text = `idempotency_in_progress: another call with ${what} has not ended yet; try again.`;
    throw await this.#recorded(new Refusal('idempotency_in_progress', text, { retry_after_seconds: 1 }));
  }
}
