/* oxlint-disable jest/no-standalone-expect -- what a test of sequences expects at each of their steps */
/** One random sequence on PaymentIntents through the proxy, and what the model knows of who pays: DESIGN 5.10. */
import type { IssuedKey } from '../../proxy/contract';
import type { Answer, Caller, Rig } from './rig';
import {
  type Act,
  type Books,
  type Change,
  type Currency,
  FAULTS,
  MICROS,
  needs,
  request,
  resolved,
  type Step,
  STATES,
} from './stripeSteps';

interface Intent {
  readonly id: string;
  readonly currency: Currency;
  /** Not known to the ledger until a key takes it over. */
  foreign: boolean;
  /** What each key pays of it, in micro-dollars. */
  paid: number[];
  /** Several keys pay, and some was given back: to whom is not said. */
  mixed: boolean;
  /** What it may ask for, in micro-dollars, if a change was executed whose outcome is unknown for good. */
  mayAsk: number;
}

/** What was met, so that the test can say at its end that it has met everything. */
export const met = new Map<string, number>();
const meet = (what: string) => void met.set(what, (met.get(what) ?? 0) + 1);

/** One sequence: its keys, its objects, and what the model knows of who pays. */
export class Sequence {
  readonly #rig: Rig;
  /** The vendor's own: the real secret, past the proxy. */
  readonly #dashboard: Caller;
  readonly #keys: readonly IssuedKey[];
  readonly #caps: readonly number[];
  readonly #job: string | undefined;
  readonly #latch: boolean;
  readonly #intents: Intent[] = [];
  readonly #refunded: number[];
  readonly #latched: ('no' | 'maybe' | 'yes')[];
  /** Held for good: what the vendor refused only when it was asked again is no evidence about the first time. */
  #stuck = 0;
  #calls = 0;

  constructor(
    rig: Rig,
    dashboard: Caller,
    keys: readonly IssuedKey[],
    caps: readonly number[],
    job: string | undefined,
    latch: boolean,
  ) {
    this.#rig = rig;
    this.#dashboard = dashboard;
    this.#keys = keys;
    this.#caps = caps;
    this.#job = job;
    this.#latch = latch;
    this.#refunded = keys.map(() => 0);
    this.#latched = keys.map(() => 'no');
  }

  async take({ by, retriedBy, repeatedBy, fault, act: given }: Step): Promise<void> {
    const payer = by % this.#keys.length;
    const intent = given.op === 'create' ? undefined : this.#pick(given);
    if (given.op !== 'create' && intent === undefined) return;
    const act = given.op === 'create' ? given : resolved(given, this.#booksOf(intent!));
    if (intent?.foreign === true && act.op !== 'confirm' && act.op !== 'capture') return;
    const asked = request(act, intent?.id);
    if (act.op === 'create' && act.elsewhere) {
      this.#made(await this.#dashboard(this.#rig.proxy.secret, asked), act.currency, true);
      return;
    }

    const key = `${this.#keys[0]!.key_id}-${(this.#calls += 1)}`;
    const call = (who: number) =>
      this.#rig.call(this.#keys[who % this.#keys.length]!.vault_key, { ...asked, path: `/stripe${asked.path}`, key });
    const left = await this.#left(payer);
    const before = intent && this.#booksOf(intent);
    const need = needs(act, before, this.#own(payer, intent, before));

    const strike = (attempt: number) => this.#rig.sandbox.setFaults(FAULTS[fault][attempt] ?? {});
    strike(0);
    let answer = await call(payer);
    for (let retry = 1; retry < 4 && answer.status >= 500; retry += 1) {
      meet(`${fault}, retried`);
      await this.#expectWithinCaps();
      strike(retry);
      answer = await call(retriedBy);
    }
    this.#rig.sandbox.setFaults({});
    if (answer.code === 'outcome_unknown') {
      const open = await this.#open();
      expect(open - this.#stuck).toBeLessThanOrEqual(Math.max(need, intent?.mayAsk ?? 0));
      this.#stuck = open;
      if (intent !== undefined) intent.mayAsk = Math.max(intent.mayAsk, (act.amount ?? 0) * before!.micros);
      meet('left unknown');
      return;
    }

    if (answer.code === 'idempotency_in_progress') {
      expect(Math.max(need, intent!.mayAsk)).toBeGreaterThan(left);
      meet(`${act.op} beside an unknown change`);
      return;
    }
    if (answer.json.error?.keybrake !== undefined) {
      expect({ code: answer.code, act }).toEqual({ code: 'cap_exhausted', act });
      if (this.#latchOf(payer) === 'no') expect(need).toBeGreaterThan(left);
      if (this.#latch) this.#latched[payer] = this.#stuck === 0 ? 'yes' : 'maybe';
      meet(`${act.op} refused`);
      return;
    }
    if (act.op === 'create') {
      expect(this.#latchOf(payer)).not.toBe('yes');
      const made = answer.status === 402 ? answer.json.error.payment_intent : answer.json;
      this.#made({ ...answer, json: made }, act.currency, false);
    }
    meet(`${act.op} ${answer.status}`);
    if (act.amount !== undefined && before !== undefined) {
      meet(`${act.op} for ${act.amount > before.row.amount ? 'more' : 'less'} ${answer.status}`);
    }
    this.#account(act, answer.status, payer, intent ?? this.#intents.at(-1)!, before);
    if (repeatedBy !== undefined && answer.status < 400) {
      const again = await call(repeatedBy);
      expect([again.status, again.headers['idempotent-replayed'], again.text]).toEqual([
        answer.status,
        'true',
        answer.text,
      ]);
      meet(repeatedBy % this.#keys.length === payer ? 'repeated' : 'repeated by the other key');
    }
    return;
  }

  #booksOf({ id, currency }: Intent): Books {
    const row = this.#rig.sandbox.charges().find((charge) => charge.id === id)!;
    const micros = MICROS[currency];
    const value = (row.chargedMinor + row.openMinor) * micros;
    return { row, micros, value, refunded: row.refundedMinor * micros };
  }

  #pick({ op, object, wild }: Change): Intent | undefined {
    const apt = this.#intents.filter((intent) => STATES[op].test(this.#booksOf(intent).row.status));
    const from = wild || apt.length === 0 ? this.#intents : apt;
    return from[object % from.length];
  }

  #made({ json }: Pick<Answer, 'json'>, currency: Currency, foreign: boolean): void {
    const { id } = json.error?.payment_intent ?? json;
    expect(id).toMatch(/^pi_/);
    this.#intents.push({ id, currency, foreign, paid: this.#keys.map(() => 0), mixed: false, mayAsk: 0 });
  }

  /** What the payer's budget counts of it at least: keys of one job have one budget. */
  #own(payer: number, intent: Intent | undefined, before: Books | undefined): number {
    if (intent === undefined || before === undefined || intent.foreign) return 0;
    if (this.#job !== undefined) return before.value;
    return intent.mixed ? 0 : intent.paid[payer]!;
  }

  #latchOf(payer: number): 'no' | 'maybe' | 'yes' {
    if (this.#job === undefined) return this.#latched[payer]!;
    return (['yes', 'maybe'] as const).find((state) => this.#latched.includes(state)) ?? 'no';
  }

  /** Who pays after a step that the vendor took, or declined (402): DESIGN 5.10. */
  #account(act: Act, status: number, payer: number, intent: Intent, before: Books | undefined): void {
    if (status !== 200 && status !== 402) return;
    const { value, refunded } = this.#booksOf(intent);
    if (act.op === 'refund') {
      this.#refunded[payer]! += refunded - before!.refunded;
      return;
    }
    const takesOver = act.op === 'create' || act.op === 'confirm' || act.op === 'capture';
    const rise = value - (before?.value ?? 0);
    if (takesOver) {
      intent.paid = intent.paid.map((_, index) => (index === payer ? value : 0));
      intent.mixed = false;
      intent.foreign = false;
    } else if (rise >= 0) {
      intent.paid[payer]! += rise;
    } else {
      const only = intent.paid.findIndex((one) => one === before!.value);
      intent.mixed ||= only === -1;
      if (only !== -1) intent.paid[only]! += rise;
    }
  }

  /** What the payer's budget has left, as the proxy says; checked against the books after every step. */
  async #left(payer: number): Promise<number> {
    return roundedMicros(this.#caps[payer]! * 1e6 - (await this.#spent(payer)).all);
  }

  async #spent(payer: number) {
    const { spend } =
      this.#job === undefined
        ? await this.#rig.client.getKey(this.#keys[payer]!.key_id)
        : await this.#rig.client.getJob(this.#job);
    const { settled_usd: settled, held_usd: held, unknown_usd: unknown, out_usd: out } = spend;
    return {
      settled: roundedMicros(settled * 1e6),
      open: roundedMicros((held + unknown) * 1e6),
      all: roundedMicros((settled + held + unknown) * 1e6),
      out: roundedMicros(out * 1e6),
    };
  }

  async #expectWithinCaps(): Promise<void> {
    for (const payer of this.#payers()) {
      expect((await this.#spent(payer)).all).toBeLessThanOrEqual(this.#caps[payer]! * 1e6);
    }
  }

  #payers(): readonly number[] {
    return this.#job === undefined ? [...this.#keys.keys()] : [0];
  }

  async #open(): Promise<number> {
    const spent = await Promise.all(this.#payers().map((payer) => this.#spent(payer)));
    return spent.reduce((sum, { open }) => sum + open, 0);
  }

  /** The ledger says what the books say. */
  async check(): Promise<void> {
    await this.#expectWithinCaps();
    const known = this.#intents.filter(({ foreign }) => !foreign);
    const books = known.map((one) => this.#booksOf(one));
    const total = (of: (one: Books) => number) => books.reduce((sum, one) => sum + of(one), 0);
    const spent = await Promise.all(this.#payers().map((payer) => this.#spent(payer)));
    const all = (of: (one: (typeof spent)[0]) => number) => spent.reduce((sum, one) => sum + of(one), 0);
    const vendor = total(({ value }) => value) + total(({ refunded }) => refunded);
    const sums = { spent: all((one) => one.settled), out: all((one) => one.out), open: all((one) => one.open) };
    expect(sums).toEqual({ spent: vendor, out: total(({ refunded }) => refunded), open: this.#stuck });
    if (this.#job !== undefined || known.some(({ mixed }) => mixed)) return;
    const each = this.#keys.map((_, index) =>
      known.reduce((sum, { paid }) => sum + paid[index]!, this.#refunded[index]!),
    );
    expect(spent.map((one) => one.settled)).toEqual(each);
  }
}

const roundedMicros = Math.round;
