/** Wrong settings are collected and told all at once: the operator starts once, not once per mistake. */

/** A setting that cannot be used. The text holds names and ways out, never a value that may be a secret. */
export interface Complaint {
  /** The variable, or the place in keybrake.yaml. */
  readonly setting: string;
  readonly problem: string;
  readonly remedy: string;
}

/** The start was stopped; the message is the whole list. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly complaints: readonly Complaint[];

  constructor(complaints: readonly Complaint[]) {
    const lines = complaints.map(({ setting, problem, remedy }) => `  ${setting}: ${problem} ${remedy}`);
    const count = complaints.length === 1 ? 'One setting' : `${complaints.length} settings`;
    super([`${count} cannot be used:`, ...lines].join('\n'));
    this.complaints = complaints;
  }
}

/** Gathers complaints while settings are read. A reader that complains answers undefined. */
export class Complaints {
  readonly #list: Complaint[] = [];

  add(setting: string, problem: string, remedy: string): undefined {
    this.#list.push({ setting, problem, remedy });
    return undefined;
  }

  get any(): boolean {
    return this.#list.length > 0;
  }

  /** Throws {@link ConfigError} if there was any. */
  check(): void {
    if (this.any) throw new ConfigError(this.#list);
  }
}
