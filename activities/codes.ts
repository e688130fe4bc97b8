/** Failure types that the pack itself raises, beside `keybrake.<refusal code>` for the proxy's refusals. */
export const FAILURES = {
  invalidInput: 'keybrake.invalid_input',
  sourceChanged: 'keybrake.source_changed',
  sourceMissing: 'keybrake.source_missing',
  noContext: 'keybrake.no_context',
  unreachable: 'keybrake.unreachable',
} as const;
