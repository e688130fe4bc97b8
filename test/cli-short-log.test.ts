/** The log of `keybrake dev` in a terminal. */
import { createLogger } from '../proxy/log';
import { shortLine } from '../src/cli/shortLog';

/** What a terminal shows of one entry. */
function shown(fields: object, message: string, secrets: readonly string[] = []): string {
  let written = '';
  const stream = { write: (line: string) => void (written += shortLine(line)) };
  createLogger({ level: 'debug', secrets, stream }).warn(fields, message);
  return written;
}

test('a failed activity is one line: which, of which workflow, and why; no token and no stack', () => {
  const temporal = {
    taskToken: 'AAAA'.repeat(50),
    activityType: 'keybrake.page',
    workflowId: 'w',
    attempt: 3,
    isLocal: false,
  };
  const line = shown({ temporal, err: new Error('no file\nof that name') }, 'Activity failed');
  expect(line).toMatch(
    /^\d\d:\d\d:\d\d warn Activity failed activityType=keybrake\.page workflowId=w attempt=3: no file of that name$/,
  );
});

test('marks of an entry stay, a secret does not, and nothing that would move the cursor', () => {
  const line = shown({ code: 'cap_exhausted', key_id: 'key_1', more: { of: 1 } }, 'refused \u001b[2J top-secret', [
    'top-secret',
  ]);
  expect(line).toMatch(/^\S+ warn refused {2}\[2J \[hidden\] code=cap_exhausted key_id=key_1$/);
  expect(shortLine('no JSON\n')).toBe('no JSON');
});
