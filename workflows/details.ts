/**
 * What the Temporal UI shows of a run in its User Metadata tab. The UI draws tables without borders, so this is a few
 * bold lines and a list, with the figure that matters first.
 */
import { formatUsd, usdToMicros, type Spend } from '../proxy/contract';
import type { Phase, RunStatusView } from './definitions';
import { OUTCOMES, type Outcome } from '../activities/contract/plan';

const PHASES = {
  preparing: 'Preparing: reading the source',
  running: 'Running',
  paused: 'Paused: send the signal `resume` to go on',
  waiting_for_cap: 'Waiting for a higher cap',
  ending: 'Ending',
  ended: 'Ended',
} as const satisfies Record<Phase, string>;

const WORDS = {
  succeeded: 'succeeded',
  replayed: 'done by an earlier run',
  declined: 'declined by the vendor',
  failed: 'failed',
  refused: 'refused by the proxy',
  unknown: 'unknown: sent, no clear answer',
  duplicate: 'duplicates in the source',
  not_started: 'not started',
} as const satisfies Record<Outcome, string>;

/** Markdown for `setCurrentDetails`. */
export function detailsOf(view: RunStatusView): string {
  const { phase, records, reason, inFlight } = view;
  const lines = [
    `**${money(view)}**`,
    '',
    `**${PHASES[phase]}**${inFlight > 0 ? `, ${plural(inFlight, 'call')} in flight` : ''}`,
    ...(reason === null ? [] : ['', `> ${quoted(reason)}`]),
    '',
    `**Records**${records.total === null ? '' : ` (of ${number(records.total)})`}`,
    '',
    ...outcomes(view),
    '',
    ...identity(view),
  ];
  return lines.join('\n');
}

function money({ spend, usdCap }: RunStatusView): string {
  const cap = usdCap === null ? '' : ` of ${usd(usdCap)}`;
  return spend === null ? `Nothing spent yet${cap}` : `${usd(spend.settled_usd)} spent${cap}${holds(spend)}`;
}

function holds({ held_usd: held, unknown_usd: unknown }: Spend): string {
  return `${held > 0 ? `, ${usd(held)} held` : ''}${unknown > 0 ? `, ${usd(unknown)} unknown` : ''}`;
}

function outcomes({ records }: RunStatusView): string[] {
  const seen = OUTCOMES.filter((outcome) => records[outcome] > 0);
  if (seen.length === 0) return ['- none has ended'];
  return seen.map((outcome) => `- ${number(records[outcome])} ${WORDS[outcome]}`);
}

function identity({ keyId, keyState, jobId, label }: RunStatusView): string[] {
  return [
    ...(keyId === null ? [] : [`- Key: ${code(keyId)}${keyState === null ? '' : ` (${keyState})`}`]),
    ...(jobId === null ? [] : [`- Job: ${code(jobId)}`]),
    ...(label === null ? [] : [`- Label: ${code(label)}`]),
  ];
}

function usd(dollars: number): string {
  return withoutDollarSigns(formatUsd(usdToMicros(Math.abs(dollars)) ?? Math.round(dollars * 1e6)));
}

/** What somebody wrote, as a code span that it cannot leave: there Markdown has no escapes. */
function code(text: string): string {
  return `\`${oneLine(text).replaceAll('`', "'")}\``;
}

/** What somebody wrote, as plain text in one line: neither links, images and HTML nor a heading or list. */
function quoted(text: string): string {
  const escaped = withoutDollarSigns(oneLine(text)).replaceAll(/[\\`*_~[\]<>&|]/g, '\\$&');
  return escaped.replace(/^(?=[#+=-])|(?<=^\d+)(?=[.)])/, '\\');
}

/** Breaks, control characters and what turns the direction of reading become spaces. */
function oneLine(text: string): string {
  return text.replaceAll(/[\s\p{Cc}\u202a-\u202e\u2066-\u2069]+/gu, ' ').trim();
}

/** The UI's Markdown takes the text between two dollar signs for a formula. */
function withoutDollarSigns(text: string): string {
  return text.replaceAll('$', 'USD ');
}

function plural(count: number, word: string): string {
  return `${number(count)} ${word}${count === 1 ? '' : 's'}`;
}

/** `12,345`: the sandbox has no guarantee about locales. */
function number(count: number): string {
  return String(count).replaceAll(/\B(?=(\d{3})+$)/g, ',');
}
