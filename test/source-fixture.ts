/** A source directory, and the readers run over everything in it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApplicationFailure } from '@temporalio/common';
import { prepare, readPage, readRange } from '../activities/sources';
import { Blocks } from '../activities/sources/blocks';
import type { Plan, PlannedSource, RecordRef } from '../activities/contract/plan';

export type FileSource = Extract<PlannedSource, { path: string }>;

/** Removed by {@link removeSources}. */
export const sourceDir = mkdtempSync(join(tmpdir(), 'keybrake-sources-'));
export const env = { sourceDir, host: 'worker-3', blocks: new Blocks() };
export const FACTS = { workflowId: 'w', firstExecutionRunId: 'r' };
export const ENDPOINT = 'POST /v1/payment_intents';

let files = 0;
export function write(content: string | Buffer, ending: string): string {
  const name = `file-${files++}.${ending}`;
  writeFileSync(join(sourceDir, name), content);
  return name;
}

export function inputFor(source: unknown, rest: object = {}): object {
  const call = { endpoint: ENDPOINT };
  const key = { vendor: 'stripe', usdCap: 5, allowedEndpoints: [ENDPOINT], ttl: '1h' };
  return { label: 'l', source, recordId: 'id', call, key, ...rest };
}

export function planOf(kind: string, content: string | Buffer, rest: object = {}): Promise<Plan> {
  return prepare(inputFor({ kind, path: write(content, kind) }, rest), FACTS, env);
}

export async function itemsOf(plan: Plan) {
  const items = [];
  for (const { start, end, firstLine } of plan.shards) {
    const range = { start, end, line: firstLine };
    for await (const item of readRange(plan.source as FileSource, range, plan.recordId, env)) items.push(item);
  }
  return items;
}

export async function refsOf(plan: Plan, limit: number): Promise<RecordRef[]> {
  const refs: RecordRef[] = [];
  for (const { start, end, firstLine } of plan.shards) {
    let position: { offset: number; line: number } | null = { offset: start, line: firstLine };
    while (position !== null) {
      const page = await readPage(plan.source as FileSource, position, { limit, end, recordId: plan.recordId }, env);
      expect(page.refs.length).toBeLessThanOrEqual(limit);
      refs.push(...page.refs);
      position = page.next;
    }
  }
  return refs;
}

export async function failureOf(work: Promise<unknown>): Promise<ApplicationFailure> {
  const error = await work.then(
    () => new Error('It succeeded.'),
    (reason: unknown) => reason,
  );
  if (error instanceof ApplicationFailure) return error;
  throw error;
}

export const INVALID = { type: 'keybrake.invalid_input', nonRetryable: true };

export function removeSources(): void {
  rmSync(sourceDir, { recursive: true });
}
