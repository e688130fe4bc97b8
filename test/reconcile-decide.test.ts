/** What is done about an unknown call, decided from what is known of it. No clock, no store, no vendor. */
import { backOff, decide, type Situation, type Step } from '../proxy/reconcile/decide';
import { stuckWarning } from '../proxy/reconcile/warn';
import { pino } from 'pino';

const MINUTE = 60_000;
const LOOK_FOR_MS = 2 * MINUTE;
const MADE = 1_000_000;

/** A paid call of a live key that may be sent again and looked up, half a minute after it was made. */
function situation({ call, ...given }: Partial<Omit<Situation, 'call'>> & { call?: Partial<Situation['call']> }) {
  const now = given.now ?? MADE + MINUTE / 2;
  return {
    call: { created_at: MADE, object_id: null, stuck_at: null, ...call },
    now,
    deadAt: MADE + 20_000,
    free: false,
    alive: true,
    resendable: true,
    findable: true,
    tries: 0,
    triedSince: now,
    ...given,
  } satisfies Situation;
}

const LATE = { tries: 5, triedSince: MADE, now: MADE + LOOK_FOR_MS };

// prettier-ignore
const CASES: readonly (readonly [string, Step, Parameters<typeof situation>[0]])[] = [
  ['while its process may be at it',                          'wait',    { now: MADE + 19_999 }],
  ['even a free call while its process may be at it',         'wait',    { free: true, now: MADE + 19_999 }],
  ['at first',                                                'resend',  {}],
  ['after a second send without an answer',                   'look_up', { tries: 1 }],
  ['once its key is dead',                                    'look_up', { alive: false }],
  ['ten minutes after it was made',                           'resend',  { now: MADE + 10 * MINUTE, findable: false }],
  ['more than ten minutes after it was made',                 'look_up', { now: MADE + 10 * MINUTE + 1 }],
  ['when what was sent is lost, or must not be sent twice',   'look_up', { resendable: false }],
  ['when the vendor cannot be asked',                         'resend',  { findable: false, tries: 3 }],
  ['when it can be sent again, however long it was looked for', 'resend', { ...LATE, tries: 4 }],
  ['when it was looked for in vain for long enough',          'give_up', { ...LATE, resendable: false }],
  ['a moment before that',                                    'look_up', { ...LATE, resendable: false, now: MADE + LOOK_FOR_MS - 1 }],
  ['a day later, at the first attempt after a restart',       'look_up', { alive: false, now: MADE + 1440 * MINUTE }],
  ['when nothing can be done at all',                         'give_up', { resendable: false, findable: false }],
  ['when its key died and nobody can be asked',               'give_up', { alive: false, findable: false }],
  ['when an operator was told, for a day',                    'look_up', { ...LATE, resendable: false, call: { stuck_at: MADE } }],
  ['when an operator was told a day ago',                     'rest',    { resendable: false, call: { stuck_at: MADE }, now: MADE + 1440 * MINUTE }],
  ['when an operator was told and nothing can be done',       'rest',    { resendable: false, findable: false, call: { stuck_at: MADE } }],
  ['a read, which moves nothing',                             'release', { free: true }],
  ['a lost cancel, which can give back',                      'look_up', { free: true, resendable: false, call: { object_id: 'stripe/pi_1' } }],
  ['a lost cancel that nobody can tell of',                   'release', { ...LATE, free: true, resendable: false, call: { object_id: 'stripe/pi_1' } }],
];

test.each(CASES)('%s: %s', (_when, step, given) => {
  expect(decide(situation(given), LOOK_FOR_MS)).toBe(step);
});

test('a call that holds money is never released, whatever is known of it', () => {
  const both = [true, false];
  const times = [0, 20_001, LOOK_FOR_MS + 1, 11 * MINUTE, 2_000 * MINUTE];
  const steps = new Set<Step>();
  for (const alive of both)
    for (const resendable of both)
      for (const findable of both)
        for (const tries of [0, 1, 2, 9])
          for (const after of times)
            for (const stuck of [null, MADE])
              for (const object of [null, 'stripe/pi_1']) {
                const call = { stuck_at: stuck, object_id: object };
                const given = { alive, resendable, findable, tries, now: MADE + after, triedSince: MADE, call };
                steps.add(decide(situation(given), LOOK_FOR_MS));
              }
  expect([...steps].toSorted()).toEqual(['give_up', 'look_up', 'resend', 'rest', 'wait']);
});

test('the wait doubles with each attempt, and is never longer than five minutes', () => {
  expect([0, 1, 2, 3].map((tries) => backOff(tries, 2_000))).toEqual([2_000, 4_000, 8_000, 16_000]);
  expect(backOff(1_000, 2_000)).toBe(5 * MINUTE);
});

test('calls that do not clear are said at once, and then once a minute, all of them counted', () => {
  let now = 0;
  const lines: { calls: number; usd: string; call_id: string; why: string }[] = [];
  const write = (line: string) => void lines.push(JSON.parse(line) as (typeof lines)[number]);
  const warning = stuckWarning(pino({ level: 'warn' }, { write }), () => now);
  for (const id of ['a', 'b', 'c']) warning.add({ call_id: id, quote_micros: 5_000_000 }, `why ${id}`);
  expect(lines).toMatchObject([{ calls: 1, usd: '$5.00', call_id: 'a', why: 'why a' }]);
  now = 59_999;
  warning.flush();
  expect(lines).toHaveLength(1);
  now = 60_000;
  warning.flush();
  expect(lines[1]).toMatchObject({ calls: 2, usd: '$10.00', call_id: 'b' });
  now = 200_000;
  warning.flush();
  expect(lines).toHaveLength(2);
});
