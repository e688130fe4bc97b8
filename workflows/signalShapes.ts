/**
 * What the signals between a root and its shards bring, read out of whatever was sent under their names: anybody who may
 * signal the workflow may send them. Undefined, with a warning: it is not of the pack, and is ignored.
 */
import { log } from '@temporalio/workflow';
import { isTerminalRefusal } from '../proxy/contract';
import { OUTCOMES } from '../activities/contract/plan';
import type { Control, Held, ShardProgress } from './definitions';

export function readControl(argument: unknown): Control | undefined {
  const { keyId, epoch, paused, version } = fieldsOf(argument);
  const fits = typeof keyId === 'string' && isCount(epoch) && typeof paused === 'boolean';
  return fits && (version === undefined || isCount(version)) ? (argument as Control) : ignored('keybrake.control');
}

export function readHeld(argument: unknown): Held | undefined {
  const { shard, code, epoch } = fieldsOf(argument);
  const fits = isCount(shard) && isTerminalRefusal(code) && isCount(epoch);
  return fits ? (argument as Held) : ignored('keybrake.held');
}

export function readProgress(argument: unknown): ShardProgress | undefined {
  const { shard, counts } = fieldsOf(argument);
  const known: readonly string[] = OUTCOMES;
  const fits =
    isCount(shard) &&
    isObject(counts) &&
    Object.entries(counts).every(([outcome, count]) => known.includes(outcome) && isCount(count));
  return fits ? (argument as ShardProgress) : ignored('keybrake.progress');
}

function ignored(signal: string): undefined {
  log.warn(`A signal ${signal} that is not of the pack was ignored`);
  return undefined;
}

function fieldsOf(argument: unknown): Readonly<Record<string, unknown>> {
  return isObject(argument) ? argument : {};
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
