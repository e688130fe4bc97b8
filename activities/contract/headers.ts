/**
 * What travels in Temporal headers from a workflow to its activities and children: which key pays, and for a record's
 * own activity where its record lies. Only public ids: the worker exchanges the key id for the vault key in memory.
 */
import { defaultPayloadConverter, type Headers } from '@temporalio/common';
import type { PlannedSource, RecordRef } from './plan';

export const VAULT_HEADER = 'keybrake-vault';

/** A source as activities get it: of inline records only what is asked for. */
export type SourcePointer = PlannedSource;

/** Tells the worker's interceptor to put the record in place of the argument, and to answer with its outcome. */
export interface RecordPointer {
  readonly source: SourcePointer;
  readonly recordId: string;
  readonly ref: RecordRef;
}

/** Tells the worker's interceptor to turn the answer of the user's reader into a page of records. */
export interface ReaderPointer {
  readonly recordId: string;
  /** Index of the first record of this page in the whole source. */
  readonly offset: number;
  /** What a page, and each of its records, may have beside the call that they go with. */
  readonly pageBytesMax?: number;
  readonly recordBytesMax?: number;
  /** What a page may have so that the history holds what comes of it, and its cursor to be carried on beside the plan. */
  readonly pageRecordsMax?: number;
  readonly cursorBytesMax?: number;
}

export interface VaultHeader {
  readonly keyId: string;
  readonly jobId: string;
  readonly record?: RecordPointer;
  readonly reader?: ReaderPointer;
}

/** The headers with the vault's added. A header that is already there, from an inner scope, stays. */
export function withVaultHeader(headers: Headers, vault: VaultHeader | undefined): Headers {
  if (vault === undefined || headers[VAULT_HEADER] !== undefined) return headers;
  return { ...headers, [VAULT_HEADER]: defaultPayloadConverter.toPayload(vault) };
}

/** Reads the vault's header; undefined where there is none, or where it is not ours to understand. */
export function readVaultHeader(headers: Headers): VaultHeader | undefined {
  const payload = headers[VAULT_HEADER];
  if (payload === undefined) return undefined;
  const value = defaultPayloadConverter.fromPayload<Partial<VaultHeader> | null>(payload);
  return typeof value?.keyId === 'string' && typeof value.jobId === 'string' ? (value as VaultHeader) : undefined;
}
