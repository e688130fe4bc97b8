/** Calls that take no fields say so, instead of passing over what their caller counts on. */
import { BODY, type Control, startControl } from './support/control';

let control: Control;
beforeEach(async () => (control = await startControl()));
afterEach(() => control.close());

async function post(call: string, init: { readonly body?: string; readonly headers?: Record<string, string> }) {
  const { key_id: id } = await control.worker.issueKey({ ...BODY, lease: '10m' });
  const before = await control.worker.getKey(id);
  await control.changeKey(id, { lease_until: Date.now() + 1_000 });
  const reply = await control.ask(`/vault/keys/${id}/${call}`, { method: 'POST', ...init });
  const after = await control.worker.getKey(id);
  const renewed = Date.parse(after.lease_expires_at ?? '') >= Date.parse(before.lease_expires_at ?? '');
  return { status: reply.status, body: JSON.stringify(await reply.json()), renewed };
}

describe.each(['renew', 'token'])('%s', (call) => {
  it.each([
    ['a length', '{"lease":"1h"}', /Wrong in the request: lease\..*unknown field; this call takes none/],
    ['two fields', '{"lease":"1h","expires_in":60}', /Wrong in the request: lease, expires_in\./],
    ['a field that Object has', '{"__proto__":1}', /Wrong in the request: __proto__\./],
    ['what is no object', '["1h"]', /takes no body, or an empty object/],
    ['null', 'null', /takes no body, or an empty object/],
    ['what is no JSON', 'lease=1h', /takes no body, or an empty object/],
  ])('%s is refused, and changes nothing', async (_, body, words) => {
    const answered = await post(call, { body });
    expect(answered).toEqual({ status: 400, body: expect.stringMatching(words), renewed: false });
  });

  it.each([
    ['no body', {}],
    ['no body, whatever its type', { headers: { 'content-type': 'text/plain' } }],
    ['an empty body', { body: '' }],
    ['a line break', { body: '\n' }],
    ['an empty object', { body: '{}' }],
    [
      'an empty object of a type that curl chooses',
      { body: '{}', headers: { 'content-type': 'application/x-www-form-urlencoded' } },
    ],
  ])('%s is taken', async (_, init) => {
    const answered = await post(call, init);
    expect(answered).toMatchObject({ status: call === 'renew' ? 200 : 201, renewed: call === 'renew' });
  });
});
