/** A user's own workflows beside the pack's, for the tests of the plugin. */
import {
  ApplicationFailure,
  CancellationScope,
  condition,
  continueAsNew,
  defineSignal,
  executeChild,
  proxyActivities,
  proxyLocalActivities,
  setHandler,
  sleep,
} from '@temporalio/workflow';
import { type VaultKeyOptions, type VaultKeySettings, withVaultKey } from '../../workflows';
import type { userActivities } from './userActivities';
import type { vendorActivities } from './vendorActivities';

export * from '../../workflows';

type Activities = ReturnType<typeof userActivities>;

const { charge, chargeByFetch, swallow, seesNoVault, context, twoCalls } = proxyActivities<Activities>({
  startToCloseTimeout: '30 seconds',
  retry: { maximumAttempts: 4, initialInterval: '50ms' },
});
const local = proxyLocalActivities<Activities>({ startToCloseTimeout: '30 seconds', retry: { maximumAttempts: 2 } });

export function keyOptions(usdCap: number, change: Partial<VaultKeyOptions> = {}): VaultKeyOptions {
  return {
    vendor: 'stripe',
    usdCap,
    allowedEndpoints: ['POST /v1/payment_intents'],
    ttl: '1h',
    label: 'test/user',
    ...change,
  };
}

/** Charges the customers one after the other. */
export async function chargeAll(ids: string[], usdCap: number, settings?: VaultKeySettings) {
  let done = 0;
  const keyId = await withVaultKey(
    keyOptions(usdCap),
    async (vault) => {
      for (const id of ids) {
        await charge(id);
        done += 1;
      }
      return vault.keyId;
    },
    settings,
  );
  return { done, keyId };
}

/** Its key is revoked at its very end, where nobody hears of it but the word about the spend. */
export async function revokedAtItsEnd(id: string, reason: string) {
  const { revokeOwn } = proxyActivities<{ revokeOwn(reason: string): Promise<void> }>({
    startToCloseTimeout: '30 seconds',
  });
  return withVaultKey(keyOptions(100), async () => {
    await charge(id);
    await revokeOwn(reason);
    return 'done';
  });
}

/** Swallows every failure, in the workflow and in the activity. */
export async function swallowAll(
  ids: string[],
  usdCap: number,
  how: 'workflow' | 'activity',
  settings?: VaultKeySettings,
) {
  return withVaultKey(
    keyOptions(usdCap),
    async () => {
      for (const id of ids) {
        if (how === 'activity') await swallow(id);
        else await charge(id).catch(() => undefined);
      }
      return 'swallowed';
    },
    settings,
  );
}

export async function chargeAndSleep(ids: string[]) {
  return withVaultKey(keyOptions(1_000), async (vault) => {
    for (const id of ids) await charge(id);
    const { settled_usd: settled } = await vault.spend();
    await sleep('1 minute');
    return settled;
  });
}

export async function failInside(ids: string[]) {
  return withVaultKey(keyOptions(1_000), async () => {
    for (const id of ids) await charge(id);
    throw ApplicationFailure.nonRetryable('the user fails', 'user.failure');
  });
}

/** Leaves an activity behind that nobody waits for. */
export async function leaveBehind(id: string) {
  return withVaultKey(keyOptions(1_000), async () => {
    charge(id, 500).catch(() => undefined);
    await sleep(200);
    return 'left';
  });
}

export async function byFetch(id: string) {
  return withVaultKey(keyOptions(1_000), () => chargeByFetch(id));
}

export async function twice(id: string) {
  return withVaultKey(keyOptions(1_000), () => twoCalls(id));
}

export async function withoutVault() {
  return seesNoVault('x');
}

export async function withoutRecordId() {
  return withVaultKey(keyOptions(1_000), () => context());
}

export async function withActivityId(id: string) {
  return withVaultKey(keyOptions(1_000), () => context.executeWithOptions({ activityId: id }, []));
}

export async function forbidden() {
  return withVaultKey(keyOptions(1_000, { allowedEndpoints: ['GET /v1/payment_intents/:id'] }), () =>
    charge('forbidden_1'),
  );
}

export async function wrongOptions(change: object) {
  return withVaultKey({ ...keyOptions(1_000), ...change }, async () => 'never');
}

/** Options as they came, from a client that is not typed. */
export async function givenOptions(options: VaultKeyOptions) {
  return withVaultKey(options, async () => 'never');
}

export async function inLocalActivity(id: string) {
  return withVaultKey(keyOptions(1_000), () => local.charge(id));
}

/** Would wait for long after a local activity was refused. */
export async function waitsAfterLocal(id: string) {
  return withVaultKey(keyOptions(1), async () => {
    await local.charge(id).catch(() => undefined);
    await sleep('1 day');
  });
}

/** A charge of $10, then the next one in a run of its own: under one cap, with a key for each run. */
export async function chargeInTurns([id, ...rest]: string[], usdCap: number): Promise<void> {
  await withVaultKey(keyOptions(usdCap), () => charge(id ?? ''));
  if (rest.length > 0) await continueAsNew<typeof chargeInTurns>(rest, usdCap);
}

/** The context goes on into a child, and over its continue-as-new. */
export async function parentOf(id: string) {
  return withVaultKey(keyOptions(1_000), () => executeChild(childOf, { args: [id, 0] }));
}

export async function childOf(id: string, generation: number): Promise<string> {
  await charge(`${id}_${generation}`);
  if (generation < 2) await continueAsNew<typeof childOf>(id, generation + 1);
  return `${id}_${generation}`;
}

export async function twoKeys(id: string) {
  const first = await withVaultKey(keyOptions(10), async (vault) => {
    await charge(`${id}_a`);
    return vault.jobId;
  });
  const second = await withVaultKey(keyOptions(20), async (vault) => {
    await charge(`${id}_b`);
    await charge(`${id}_c`);
    return vault.jobId;
  });
  return [first, second];
}

/** A scope of the user's own inside: its cancellation is the user's business. */
export async function ownScope(id: string) {
  return withVaultKey(keyOptions(1_000), async () => {
    await CancellationScope.withTimeout(50, () => sleep('1 minute')).catch(() => undefined);
    await charge(id);
    return 'fine';
  });
}

const hasty = proxyActivities<ReturnType<typeof vendorActivities>>({
  // Shorter than the vendor takes.
  startToCloseTimeout: '1 second',
  retry: { initialInterval: '20ms', backoffCoefficient: 1 },
});
const patient = proxyActivities<ReturnType<typeof vendorActivities>>({
  startToCloseTimeout: '30 seconds',
  retry: { maximumAttempts: 4, initialInterval: '50ms' },
});
const TEXTS = 'POST /2010-04-01/Accounts/:AccountSid/Messages.json';

/** Two texts and an e-mail for each, under a key for each vendor. */
export async function notifyAll(ids: string[]) {
  const texts = keyOptions(1, { vendor: 'twilio', allowedEndpoints: [TEXTS] });
  await withVaultKey(texts, () => Promise.all(ids.map((id) => hasty.text(id))));
  const mails = keyOptions(1, { vendor: 'resend', allowedEndpoints: ['POST /emails'] });
  await withVaultKey(mails, () => Promise.all(ids.map((id) => patient.mail(id))));
}

/** Texts with the key of another vendor. */
export async function notifyWrong([id = '']: string[]) {
  return withVaultKey(keyOptions(1), () => patient.text(id));
}

/** A text for each, under a cap for two. */
export async function notifyCapped(ids: string[]) {
  await withVaultKey(keyOptions(0.03, { vendor: 'twilio', allowedEndpoints: [TEXTS] }), async () => {
    for (const id of ids) await patient.text(id, 1);
  });
}

/** Waits below another key until something ends it. */
export async function waitUnder(parentKeyId: string) {
  return withVaultKey(keyOptions(5, { parentKeyId }), () => sleep('1 day'));
}

/** A workflow that knows nothing of vault keys. */
export async function waitForever() {
  await sleep('1 day');
}

export const goOnSignal = defineSignal('goOn');

/** The first key is not issued; a second one is when the workflow is told to go on. */
export async function secondKeyAfterNone(id: string) {
  let told = false;
  setHandler(goOnSignal, () => {
    told = true;
  });
  await withVaultKey(keyOptions(-1), async () => undefined).catch(() => undefined);
  await condition(() => told);
  return withVaultKey(keyOptions(1_000), () => charge(id));
}
