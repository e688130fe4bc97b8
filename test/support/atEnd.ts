/** The environment that jest runs a file in knows it by this: no other object reaches from one into the other. */
export const AT_END = Symbol.for('keybrake.atEnd');

export type Step = () => Promise<void> | void;

/**
 * Does something after all hooks of the file. Hooks run in the order in which they were made, so an `afterAll` of a file
 * that the test imports runs before the test's own: it would take away the store of a proxy that has yet to stop.
 */
export function atEnd(step: Step): void {
  const steps = ((globalThis as { [AT_END]?: Step[] })[AT_END] ??= []);
  steps.push(step);
}
