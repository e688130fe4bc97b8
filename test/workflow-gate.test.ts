import { Gate } from '../workflows/gate';

const open = { keyId: 'key_1', epoch: 0, paused: false, version: 0 };

describe('the gate', () => {
  test('of a shard ends up as the root says, in whatever order the news arrives', () => {
    const root = new Gate(open, () => undefined);
    const news = [
      () => root.pause(true),
      () => root.release('key_2'),
      () => root.pause(false),
      () => root.release(),
    ].map((change) => {
      change();
      return root.control;
    });
    for (const order of [news, news.toReversed(), [2, 0, 3, 1].map((at) => news[at]!)]) {
      const shard = new Gate(open, () => undefined);
      for (const control of order) shard.follow(control);
      expect(shard.control).toEqual(root.control);
      expect(shard.open).toBe(true);
    }
  });

  test('takes a refusal once, and none from before the last release', () => {
    const heard: string[] = [];
    const gate = new Gate(open, (code) => heard.push(code));
    gate.refuse('cap_exhausted', 0);
    gate.refuse('cap_exhausted', 0);
    expect(gate.open).toBe(false);
    gate.release();
    gate.refuse('cap_exhausted', 0);
    expect({ open: gate.open, heard }).toEqual({ open: true, heard: ['cap_exhausted'] });
    gate.refuse('key_revoked', 1);
    gate.close();
    gate.release();
    expect({ open: gate.open, heard }).toEqual({ open: false, heard: ['cap_exhausted', 'key_revoked'] });
  });
});
