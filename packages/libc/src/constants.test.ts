import { constants as fsConstants } from 'node:fs';
import { constants as osConstants } from 'node:os';
import t from 'tap';
import * as constants from './constants.ts';
import { errnoName, errnoNumber } from './errno.ts';
import { NR, syscallNumbersByArch } from './syscall-numbers.ts';

t.test('open flags and file types are the ones Node was compiled with', async (t) => {
  const ours: Readonly<Record<string, unknown>> = constants;
  let compared = 0;
  for (const [name, value] of Object.entries(fsConstants)) {
    if (!(name in ours)) continue;
    t.equal(ours[name], value, name);
    compared++;
  }
  t.ok(compared > 15, `${compared} constants compared`);
});

t.test('signals are numbered as Node numbers them', async (t) => {
  for (const [name, number] of Object.entries(osConstants.signals)) t.equal(constants.signals[name], number, name);
  t.equal(constants.signals['SIGRTMIN+1'], 35);
  t.equal(constants.signals['SIGRTMAX-1'], 63);
  t.equal(constants.signals['SIGRTMAX'], 64);
});

t.test('errno names are numbered as Node numbers them', async (t) => {
  for (const [name, number] of Object.entries(osConstants.errno)) {
    t.equal(errnoNumber(name), number, name);
  }
  t.equal(errnoName(16), 'EBUSY');
  t.equal(errnoName(4000), 'ERRNO_4000');
  t.equal(errnoNumber('ENONSENSE'), undefined);
});

t.test('both instruction sets have a number for every call', async (t) => {
  const { x64, arm64 } = syscallNumbersByArch;
  t.same(Object.keys(x64 ?? {}).sort(), Object.keys(arm64 ?? {}).sort());
  t.equal(NR, process.arch === 'arm64' ? arm64 : x64);
});
