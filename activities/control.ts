/** The control plane as activities: issue, revoke, raise, spend. The workflows run them as local activities. */
import { activityInfo } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { KeybrakeApiError, type KeybrakeClient } from '../proxy/client';
import type { IssuedKey, IssueKeyBody } from '../proxy/contract';
import { invalidInput, unknownField } from './inputIssues';
import { issueKeyFor, jobIdFor } from './recordKeys';
import { deadCodeOf } from './tokens';
import type { IssuedVault, IssueInput, KeyInput, KeyRequest, RaiseInput, RevokeInput, VaultSpend } from './types';

/**
 * Issues the key of a run. Its retry, and a reset to before it, get the same key back while that lives; after a reset
 * to before a dead key's issue, and in place of a dead key that a run before a reset had issued, there is a new one.
 */
export async function issue(client: KeybrakeClient, input: IssueInput): Promise<IssuedVault> {
  const { request, identity, jobIdByDefault = false, replaces } = input;
  const issuedIn = activityInfo().workflowExecution?.runId ?? '';
  if (replaces !== undefined && replaces.issuedIn === issuedIn) return unchanged(client, replaces);
  checkOptions(request);
  const body = issueBody(jobIdByDefault ? { ...request, jobId: jobIdFor(request.jobId) } : request);
  if (replaces === undefined) {
    const first = await issueOnce(client, body, identity);
    if (first !== undefined && deadCodeOf(first.state) === undefined) return toVault(first, issuedIn);
  }
  const again = await issueOnce(client, body, `${identity}/${issuedIn}`);
  if (again !== undefined) return toVault(again, issuedIn);
  throw ApplicationFailure.nonRetryable('A key was issued to this run with another request.', 'keybrake.conflict');
}

/** The field of the proxy's request that each option of `withVaultKey` stands for. */
const FIELDS: Readonly<Record<keyof KeyRequest, keyof IssueKeyBody>> = {
  vendor: 'vendor',
  usdCap: 'usd_cap',
  dailyUsdCap: 'daily_usd_cap',
  maxUsdPerCall: 'max_usd_per_call',
  allowedEndpoints: 'allowed_endpoints',
  ttl: 'expires_in',
  lease: 'lease',
  label: 'agent_run_label',
  jobId: 'job_id',
  account: 'account',
  parentKeyId: 'parent_key_id',
  fx: 'fx',
  metadata: 'metadata',
};

/** A misspelt option of `withVaultKey` that was ignored could be a cap that is not there. */
function checkOptions(request: KeyRequest): void {
  const known = { '': Object.keys(FIELDS) };
  const unknown = Object.keys(request).filter((name) => !Object.hasOwn(FIELDS, name));
  const issues = unknown.map((name) => unknownField('', name, known));
  if (issues.length > 0) throw invalidInput(issues, 'The options of withVaultKey are');
}

function issueBody(request: KeyRequest): IssueKeyBody {
  const given = Object.entries(request).filter(([, value]) => value !== undefined);
  // The proxy checks the values: they come from a user's code, whose types may not have been checked.
  return Object.fromEntries(given.map(([name, value]) => [FIELDS[name as keyof KeyRequest], value])) as never;
}

/** The proxy's error with the names of its fields as the options are named: `usdCap` for `usd_cap`. */
function inOptions({ status, code, message, issues, cause }: KeybrakeApiError): KeybrakeApiError {
  const words = (text: string): string =>
    Object.entries(FIELDS).reduce(
      (told, [option, field]) => told.replaceAll(new RegExp(`\\b${field}\\b`, 'g'), option),
      text,
    );
  const named = issues.map(({ path, message: told }) => ({ path: words(path), message: words(told) }));
  return new KeybrakeApiError(status, code, words(message), named, cause);
}

/** Undefined: the idempotency key was used with another body, by a run before a reset. */
async function issueOnce(client: KeybrakeClient, body: IssueKeyBody, key: string): Promise<IssuedKey | undefined> {
  try {
    return await client.issueKey(body, issueKeyFor(key));
  } catch (error) {
    if (error instanceof KeybrakeApiError && error.code === 'conflict' && /another body/.test(error.message)) {
      return undefined;
    }
    throw error instanceof KeybrakeApiError ? inOptions(error) : error;
  }
}

async function unchanged(
  client: KeybrakeClient,
  { keyId, issuedIn }: NonNullable<IssueInput['replaces']>,
): Promise<IssuedVault> {
  const key = await client.getKey(keyId).catch(() => undefined);
  const leaseMs = (key?.lease_seconds ?? 0) * 1_000;
  return { keyId, issuedIn, capUsd: key?.usd_cap ?? null, leaseMs, expiresAt: key?.expires_at ?? '', fresh: false };
}

function toVault(key: IssuedKey, issuedIn: string): IssuedVault {
  return {
    keyId: key.key_id,
    ...(key.job_id !== null && { jobId: key.job_id }),
    issuedIn,
    capUsd: key.usd_cap,
    leaseMs: (key.lease_seconds ?? 0) * 1_000,
    expiresAt: key.expires_at,
    fresh: true,
  };
}

export async function revoke(client: KeybrakeClient, { keyId, reason }: RevokeInput): Promise<{ inFlight: number }> {
  const { in_flight: inFlight } = await client.revokeKey(keyId, Array.from(reason).slice(0, REASON_CHARS_MAX).join(''));
  return { inFlight };
}

const REASON_CHARS_MAX = 200;

/** Raises the job's cap, and the key's own where it has one below that. A cap that is that high already stays. */
export async function raise(
  client: KeybrakeClient,
  { keyId, jobId, usdCap }: RaiseInput,
): Promise<{ capUsd: number | null }> {
  const job = await client.getJob(jobId);
  if (job.usd_cap !== null && job.usd_cap < usdCap) await client.patchJob(jobId, { usd_cap: usdCap });
  const key = await client.getKey(keyId);
  if (key.usd_cap === null || key.usd_cap >= usdCap) return { capUsd: key.usd_cap };
  return { capUsd: (await client.patchKey(keyId, { usd_cap: usdCap })).usd_cap };
}

export async function spend(client: KeybrakeClient, { keyId, jobId }: KeyInput): Promise<VaultSpend> {
  const [key, job] = await Promise.all([client.getKey(keyId), client.getJob(jobId).catch(() => null)]);
  return {
    state: key.state,
    capUsd: key.usd_cap,
    exhaustedBy: key.exhausted_by,
    revokeReason: key.revoke_reason,
    spend: key.spend,
    jobSpend: job?.spend ?? null,
  };
}
