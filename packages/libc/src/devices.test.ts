import { statSync } from 'node:fs';
import t from 'tap';
import { major, makedev, minor } from './devices.ts';

t.test('a device number gives back the major and minor it was made of', async (t) => {
  for (const [high, low] of [
    [0, 0],
    [1, 3],
    [8, 257],
    [4095, 1048575],
    [0xffffffff, 0xffffffff],
    [259, 70000],
  ] as const) {
    const device = makedev(high, low);
    t.equal(major(device), high);
    t.equal(minor(device), low);
  }
});

t.test('the encoding is the one stat reports', async (t) => {
  t.equal(makedev(1, 3), statSync('/dev/null', { bigint: true }).rdev);
});
