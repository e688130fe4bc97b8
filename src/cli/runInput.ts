/** The input of `pipelineRun`: from a JSON or YAML file, or put together from flags. The worker checks it. */
import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import { CliError } from './errors';
import { parsePairs } from './parse';

export interface RunFlags {
  readonly source?: string;
  readonly endpoint?: string;
  readonly activity?: string;
  readonly param: readonly string[];
  readonly recordId?: string;
  readonly vendor?: string;
  readonly cap?: number;
  readonly dailyCap?: number;
  readonly maxPerCall?: number;
  readonly ttl?: string;
  readonly label?: string;
  readonly jobId?: string;
  readonly account?: string;
  readonly allow: readonly string[];
  readonly concurrency?: number;
  readonly recordsPerActivity?: number;
  readonly onCap?: 'cancel' | 'pause';
  readonly retryDeclined?: boolean;
  readonly results?: string;
}

export type RunInput = Readonly<Record<string, unknown>> & { readonly label?: unknown; readonly jobId?: unknown };

/** What a run made of flags alone starts from. A file says these things itself. */
const DEFAULTS: RunInput = { recordId: 'id', key: { vendor: 'stripe', ttl: '4h' } };

/** One input per file, or one from the flags. Flags also override fields of the files. */
export async function readInputs(files: readonly string[], flags: RunFlags): Promise<RunInput[]> {
  if (files.length > 0) return Promise.all(files.map(async (file) => overridden(await readInput(file), flags)));
  const missing = [
    flags.source === undefined && '--source FILE',
    flags.endpoint === undefined && flags.activity === undefined && '--endpoint "POST /v1/…"',
    flags.cap === undefined && '--cap USD',
  ].filter((name) => name !== false);
  if (missing.length > 0) {
    throw new CliError(`Give an input file, or ${missing.join(', ')}. See keybrake run --help.`);
  }
  return [overridden(DEFAULTS, flags)];
}

async function readInput(file: string): Promise<RunInput> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new CliError(`${file} cannot be read: ${(cause as Error).message}`);
  });
  const input = parseText(file, text);
  if (typeof input === 'object' && input !== null && !Array.isArray(input)) return input as RunInput;
  throw new CliError(
    `${file} holds no run input: it must be one JSON or YAML object with label, source, call and key.`,
  );
}

function parseText(file: string, text: string): unknown {
  try {
    return parse(text, { prettyErrors: true });
  } catch (error) {
    throw new CliError(`${file} is neither JSON nor YAML: ${(error as Error).message.split('\n')[0]}`);
  }
}

/** The fields that flags give, over those of the file. Objects inside are merged field by field. */
function overridden(input: RunInput, flags: RunFlags): RunInput {
  const source = flags.source === undefined ? {} : sourceOf(flags.source);
  const label = flags.label ?? input['label'] ?? (flags.source === undefined ? undefined : labelOf(flags.source));
  const call = {
    ...(flags.endpoint !== undefined && { endpoint: flags.endpoint }),
    ...(flags.activity !== undefined && { activity: flags.activity }),
    ...(flags.param.length > 0 && { params: nested(parsePairs('--param', distinct(flags.param))) }),
  };
  return {
    ...input,
    ...(label !== undefined && { label }),
    ...(flags.jobId !== undefined && { jobId: flags.jobId }),
    ...mergedAt('source', input, source),
    ...(flags.recordId !== undefined && { recordId: flags.recordId }),
    ...mergedAt('call', input, call),
    ...mergedAt('key', input, keyOf(input, flags)),
    ...(flags.concurrency !== undefined && { concurrency: flags.concurrency }),
    ...(flags.recordsPerActivity !== undefined && { recordsPerActivity: flags.recordsPerActivity }),
    ...(flags.onCap !== undefined && { onCapExhausted: flags.onCap }),
    ...(flags.retryDeclined === true && { retry: ['declined'] }),
    ...(flags.results !== undefined && { results: { path: flags.results } }),
  };
}

/** Where no allowlist is given, a run may call just the endpoint that it is for. */
function keyOf(input: RunInput, flags: RunFlags): RunInput {
  const unlisted = objectAt(input, 'key')['allowedEndpoints'] === undefined && flags.endpoint !== undefined;
  const allowed = flags.allow.length > 0 ? flags.allow : unlisted ? [flags.endpoint] : undefined;
  return {
    ...(flags.vendor !== undefined && { vendor: flags.vendor }),
    ...(flags.cap !== undefined && { usdCap: flags.cap }),
    ...(flags.dailyCap !== undefined && { dailyUsdCap: flags.dailyCap }),
    ...(flags.maxPerCall !== undefined && { maxUsdPerCall: flags.maxPerCall }),
    ...(allowed !== undefined && { allowedEndpoints: allowed }),
    ...(flags.ttl !== undefined && { ttl: flags.ttl }),
    ...(flags.account !== undefined && { account: flags.account }),
  };
}

function mergedAt(name: string, input: RunInput, fields: RunInput): RunInput {
  if (Object.keys(fields).length === 0) return {};
  return { [name]: { ...objectAt(input, name), ...fields } };
}

function sourceOf(text: string): RunInput {
  const path = text.replace(/^\.\//, '');
  const kind = /\.csv$/i.test(path) ? 'csv' : /\.(jsonl|ndjson)$/i.test(path) ? 'jsonl' : undefined;
  if (kind !== undefined) return { kind, path };
  throw new CliError(`--source takes a .jsonl, .ndjson or .csv file; ${path} says neither. Use an input file instead.`);
}

function labelOf(source: string): string {
  const name = source.replace(/^.*[/\\]/, '').replace(/\.\w+$/, '');
  return `${name}/${new Date().toISOString().slice(0, 10)}`;
}

function objectAt(input: RunInput, name: string): RunInput {
  const value = input[name];
  return typeof value === 'object' && value !== null ? (value as RunInput) : {};
}

/** A parameter given twice, or as a value and as what holds others, would be sent as one of the two. */
function distinct(pairs: readonly string[]): readonly string[] {
  const names = pairs.map((pair) => pair.split('=', 1)[0] ?? '');
  const twice = names.find((name, at) =>
    names.some((other, i) => i !== at && (other === name || other.startsWith(`${name}[`))),
  );
  if (twice !== undefined)
    throw new CliError(`--param ${twice} is given twice, or as a value and as what holds others.`);
  return pairs;
}

/** `metadata[order]=…` and `to[0]=…`, as Stripe writes nested parameters and lists. */
function nested(pairs: Readonly<Record<string, string>>): RunInput {
  const root: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(pairs)) {
    const steps = name.split('[').map((step) => step.replace(/\]$/, ''));
    let place = root;
    for (const step of steps.slice(0, -1)) place = (place[step] ??= {}) as Record<string, unknown>;
    place[steps.at(-1) ?? name] = value;
  }
  return Object.fromEntries(Object.entries(root).map(([name, value]) => [name, withLists(value)]));
}

/** Objects whose names are 0, 1, 2, … are lists. */
function withLists(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([name, inner]) => [name, withLists(inner)] as const);
  const isList = entries.every(([name], index) => name === String(index));
  return isList ? entries.map(([, inner]) => inner) : Object.fromEntries(entries);
}
