/** jest's own environment, which beside that does at the very end of a file what `atEnd` was given. */
import { TestEnvironment } from 'jest-environment-node';
import { AT_END, type Step } from './atEnd';

export default class extends TestEnvironment {
  async handleTestEvent({ name }: { readonly name: string }): Promise<void> {
    if (name !== 'run_finish') return;
    const { [AT_END]: steps = [] } = this.global as { readonly [AT_END]?: readonly Step[] };
    for (const step of steps) await step();
  }
}
