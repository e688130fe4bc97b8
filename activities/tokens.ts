/** Vault keys by key id, in memory alone: the history knows the key id, the worker asks the proxy for the rest. */
import { ApplicationFailure } from '@temporalio/common';
import { KeybrakeApiError, type KeybrakeClient } from '../proxy/client';
import type { IssuedKey, KeyView, TerminalRefusal, VendorId } from '../proxy/contract';

const TOKENS_MAX = 1_000;
/** A token is asked for anew after so long, so that an operator's rotation reaches running workers. */
const FRESH_MS = 5 * 60_000;

/** What a worker must know of a key to call with it. */
export interface Token {
  readonly vaultKey: string;
  readonly vendor: VendorId;
  /** The vendor's own id of the account, where its paths carry one. */
  readonly accountId: string | null;
}

interface Kept {
  readonly token: Promise<Token>;
  readonly until: number;
}

export class Tokens {
  readonly #client: KeybrakeClient;
  /** Least recently used first. */
  readonly #tokens = new Map<string, Kept>();

  constructor(client: KeybrakeClient) {
    this.#client = client;
  }

  /** The vault key. Throws a failure `keybrake.key_…` for a dead one, KeybrakeApiError when the proxy does not answer. */
  get(keyId: string): Promise<Token> {
    const known = this.#tokens.get(keyId);
    this.#tokens.delete(keyId);
    const kept = known !== undefined && known.until > Date.now() ? known : this.#ask(keyId);
    this.#tokens.set(keyId, kept);
    for (const oldest of this.#tokens.keys()) {
      if (this.#tokens.size <= TOKENS_MAX) break;
      this.#tokens.delete(oldest);
    }
    return kept.token;
  }

  forget(keyId: string): void {
    this.#tokens.delete(keyId);
  }

  #ask(keyId: string): Kept {
    const token = this.#exchange(keyId);
    token.catch(() => this.#tokens.delete(keyId));
    return { token, until: Date.now() + FRESH_MS };
  }

  async #exchange(keyId: string): Promise<Token> {
    try {
      return toToken(await this.#client.tokenFor(keyId));
    } catch (error) {
      if (!(error instanceof KeybrakeApiError) || (error.code !== 'conflict' && error.code !== 'not_found'))
        throw error;
    }
    const code = await whyDead(this.#client, keyId);
    // A lease that lapsed while no worker ran comes back with its renewal.
    if (code === undefined || (code === 'key_expired' && (await revived(this.#client, keyId)))) {
      return toToken(await this.#client.tokenFor(keyId));
    }
    throw ApplicationFailure.nonRetryable(`${code}: ${keyId} can make no further call.`, `keybrake.${code}`);
  }
}

function toToken({ vault_key: vaultKey, vendor, account_id: accountId }: IssuedKey): Token {
  return { vaultKey, vendor, accountId };
}

/** Why a key can make no call, or undefined if it can. */
export async function whyDead(client: KeybrakeClient, keyId: string): Promise<TerminalRefusal | undefined> {
  try {
    return deadCodeOf((await client.getKey(keyId)).state);
  } catch (error) {
    if (error instanceof KeybrakeApiError && error.code === 'not_found') return 'key_invalid';
    throw error;
  }
}

export function deadCodeOf(state: KeyView['state']): 'key_revoked' | 'key_expired' | undefined {
  if (state === 'revoked') return 'key_revoked';
  return state === 'expired' ? 'key_expired' : undefined;
}

/** Renews the lease. False: it is not the lease that ended. */
export async function revived(client: KeybrakeClient, keyId: string): Promise<boolean> {
  try {
    const { state } = await client.renewKey(keyId);
    return deadCodeOf(state) === undefined;
  } catch (error) {
    if (error instanceof KeybrakeApiError && !error.retryable) return false;
    throw error;
  }
}
