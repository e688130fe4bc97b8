/** Vault keys by key id, in memory alone: the history knows the key id, the worker asks the proxy for the rest. */
import { ApplicationFailure } from '@temporalio/common';
import { KeybrakeApiError, type KeybrakeClient } from '../proxy/client';
import type { KeyView, TerminalRefusal } from '../proxy/contract';

const TOKENS_MAX = 1_000;
/** A token is asked for anew after so long, so that an operator's rotation reaches running workers. */
const FRESH_MS = 5 * 60_000;

interface Token {
  readonly vaultKey: Promise<string>;
  readonly until: number;
}

export class Tokens {
  readonly #client: KeybrakeClient;
  /** Least recently used first. */
  readonly #tokens = new Map<string, Token>();

  constructor(client: KeybrakeClient) {
    this.#client = client;
  }

  /** The vault key. Throws a failure `keybrake.key_…` for a dead one, KeybrakeApiError when the proxy does not answer. */
  get(keyId: string): Promise<string> {
    const known = this.#tokens.get(keyId);
    this.#tokens.delete(keyId);
    const token = known !== undefined && known.until > Date.now() ? known : this.#ask(keyId);
    this.#tokens.set(keyId, token);
    for (const oldest of this.#tokens.keys()) {
      if (this.#tokens.size <= TOKENS_MAX) break;
      this.#tokens.delete(oldest);
    }
    return token.vaultKey;
  }

  forget(keyId: string): void {
    this.#tokens.delete(keyId);
  }

  #ask(keyId: string): Token {
    const vaultKey = this.#exchange(keyId);
    vaultKey.catch(() => this.#tokens.delete(keyId));
    return { vaultKey, until: Date.now() + FRESH_MS };
  }

  async #exchange(keyId: string): Promise<string> {
    try {
      return (await this.#client.tokenFor(keyId)).vault_key;
    } catch (error) {
      if (!(error instanceof KeybrakeApiError) || (error.code !== 'conflict' && error.code !== 'not_found'))
        throw error;
    }
    const code = await whyDead(this.#client, keyId);
    // A lease that lapsed while no worker ran comes back with its renewal.
    if (code === undefined || (code === 'key_expired' && (await revived(this.#client, keyId)))) {
      return (await this.#client.tokenFor(keyId)).vault_key;
    }
    throw ApplicationFailure.nonRetryable(`${code}: ${keyId} can make no further call.`, `keybrake.${code}`);
  }
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
