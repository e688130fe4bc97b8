import { Option } from 'commander';

/** A flag that takes one of several words. */
export function choice(flags: string, description: string, words: readonly string[]): Option {
  return new Option(flags, description).choices(words);
}
