import { Refusal } from '../../proxy/contract';

/** The field that a refusal names; fails the test when nothing is refused or the code is another. */
export function refusedField(read: () => unknown): string | undefined {
  try {
    read();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    expect(error.code).toBe('request_unpriceable');
    return error.details.field;
  }
  throw new Error('nothing was refused');
}
