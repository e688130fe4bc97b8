/** Lets time pass for messages and calls: they reach their ends, are put on the bill, and callbacks say so. */
import { z } from 'zod';
import type { Callback } from './callbacks';
import { endCall } from './calls';
import { fullMicros } from './messages';
import { FAILED_MICROS, priceText } from './prices';
import type { Message, MessageStatus, PhoneCall, TwilioState } from './state';

const schema = z.strictObject({
  /** Only this message or call; a scheduled message then need not wait for its time. */
  sid: z.string().optional(),
  /** The end, in place of what the number called stands for. */
  status: z.enum(['sent', 'delivered', 'undelivered', 'failed', 'completed', 'busy', 'no-answer']).optional(),
  /** How many states to go on; all of them when left out. */
  steps: z.number().int().min(1).default(10),
  /** False: prices stay null, to come with a later call. */
  price: z.boolean().default(true),
});

/** Which messages and calls go on, how far, and how they end. */
export type AdvanceOptions = Readonly<z.input<typeof schema>>;

/** A message or call that went on. */
export interface Advanced {
  readonly sid: string;
  readonly status: string;
  readonly price: string | null;
  readonly callbacks: readonly Callback[];
}

type Settings = z.output<typeof schema>;

const POOL_NUMBER = '+15005550006';
const ERROR_CODES: Readonly<Partial<Record<MessageStatus, number>>> = { undelivered: 30003, failed: 30008 };

/** Goes on with all that `options` choose; resolves when their callbacks are answered. Throws on senseless options. */
export async function advance(state: TwilioState, options: unknown = {}): Promise<Advanced[]> {
  const settings = schema.parse(options);
  const chosen = (sid: string) => settings.sid === undefined || settings.sid === sid;
  const messages = [...state.messages.values()].filter(({ sid }) => chosen(sid));
  const calls = [...state.calls.values()].filter(({ sid }) => chosen(sid));
  const moved = [
    ...messages.map((message) => advanceMessage(state, message, settings)),
    ...calls.map((call) => advanceCall(state, call, settings)),
  ];
  return Promise.all(moved.filter((one) => one !== undefined));
}

/** Brings to their end, price included, the messages and calls that were sent `lateMs` ago. */
export async function settleDue(state: TwilioState, lateMs: number): Promise<void> {
  const dueMs = state.now() - lateMs;
  const settings = schema.parse({});
  await Promise.all([
    ...[...state.messages.values()].map((message) =>
      message.sendAtMs <= dueMs ? advanceMessage(state, message, settings) : undefined,
    ),
    ...[...state.calls.values()].map((call) =>
      call.createdMs <= dueMs ? advanceCall(state, call, settings) : undefined,
    ),
  ]);
}

/** All changes are made at once; what is awaited is the callbacks, one after another. Undefined: nothing changed. */
function advanceMessage(state: TwilioState, message: Message, settings: Settings): Promise<Advanced> | undefined {
  const waits = message.status === 'scheduled' && message.sendAtMs > state.now() && settings.sid === undefined;
  if (waits) return undefined;
  const outcome = outcomeOf(message, settings);
  const passed: MessageStatus[] = [];
  for (let step = 0; step < settings.steps; step += 1) {
    const next = nextStatus(message.status, outcome);
    if (next === undefined) break;
    enter(message, next, state.now());
    passed.push(next);
  }
  const ended = nextStatus(message.status, outcome) === undefined && message.status !== 'canceled';
  const priced = settings.price && message.priceMicros === null && ended;
  if (priced) {
    message.priceMicros = message.status === 'failed' ? FAILED_MICROS : fullMicros(message);
    message.updatedMs = state.now();
  }
  return passed.length === 0 && !priced
    ? undefined
    : report(state, message, passed, (status) => fieldsOf(message, status));
}

function outcomeOf(message: Message, { status }: Settings): MessageStatus {
  const fits = status === 'sent' || status === 'delivered' || status === 'undelivered' || status === 'failed';
  return fits ? status : message.outcome;
}

function nextStatus(status: MessageStatus, outcome: MessageStatus): MessageStatus | undefined {
  if (status === 'scheduled' || status === 'accepted') return 'queued';
  if (status === 'queued') return outcome === 'failed' ? 'failed' : 'sent';
  return status === 'sent' && outcome !== 'sent' && outcome !== 'failed' ? outcome : undefined;
}

function enter(message: Message, status: MessageStatus, nowMs: number): void {
  message.status = status;
  message.updatedMs = nowMs;
  if (status === 'queued') message.from ??= POOL_NUMBER;
  if (status === 'sent') message.sentMs = nowMs;
  message.errorCode = ERROR_CODES[status] ?? null;
}

function advanceCall(state: TwilioState, call: PhoneCall, settings: Settings): Promise<Advanced> | undefined {
  if (call.durationSeconds !== null) return undefined;
  const { status: told, steps } = settings;
  const fits = told === 'completed' || told === 'busy' || told === 'no-answer' || told === 'failed';
  const outcome = fits ? told : call.outcome;
  if (call.status === 'queued' && outcome === 'completed' && steps === 1) {
    call.status = 'in-progress';
    return report(state, call, [], () => ({}));
  }
  endCall(call, outcome, state.now());
  const { sid, accountSid, from, to } = call;
  const fields = { AccountSid: accountSid, ApiVersion: '2010-04-01', CallSid: sid, CallStatus: outcome, From: from };
  const all = { ...fields, CallDuration: String(call.durationSeconds), Direction: 'outbound-api', To: to };
  return report(state, call, [outcome], () => all);
}

async function report(
  state: TwilioState,
  sent: Message | PhoneCall,
  passed: readonly string[],
  fieldsFor: (status: string) => Readonly<Record<string, string>>,
): Promise<Advanced> {
  const { sid, status, priceMicros, statusCallback, authToken } = sent;
  const fields = passed.map((one) => [one, fieldsFor(one)] as const);
  const callbacks: Callback[] = [];
  for (const [one, form] of statusCallback === null ? [] : fields) {
    // One after another: a receiver must see them in order.
    // oxlint-disable-next-line no-await-in-loop
    callbacks.push(await state.callbacks.post(statusCallback ?? '', one, form, authToken));
  }
  return { sid, status, price: priceMicros === null ? null : priceText(priceMicros), callbacks };
}

function fieldsOf(message: Message, status: string): Readonly<Record<string, string>> {
  const { accountSid, errorCode, from, messagingServiceSid, sid, to } = message;
  const ended = status === message.status && errorCode !== null;
  return {
    AccountSid: accountSid,
    ApiVersion: '2010-04-01',
    From: from ?? '',
    MessageSid: sid,
    MessageStatus: status,
    SmsSid: sid,
    SmsStatus: status,
    To: to,
    ...(messagingServiceSid !== null && { MessagingServiceSid: messagingServiceSid }),
    ...(ended && { ErrorCode: String(errorCode) }),
  };
}
