import t from 'tap';
import type { LinuxDeviceRule } from '@gantry/oci';
import { deviceAccess, devicePolicy } from './device-rules.ts';
import { deviceProgram } from './devices-bpf.ts';
import { deviceExceptions } from './devices-v1.ts';

interface Question {
  readonly type: 'b' | 'c';
  readonly major: number;
  readonly minor: number;
  readonly access: number;
}

/** Runs the generated program as the kernel does; throws on anything that its verifier would refuse. */
function run(program: Buffer, { type, major, minor, access }: Question): number {
  const context = [(type === 'b' ? 1 : 2) | (access << 16), major, minor];
  const registers: (number | undefined)[] = [undefined, 1];
  const count = program.length / 8;
  const value = (register: number): number => {
    const found = registers[register];
    if (found === undefined) throw new Error(`register ${register} read before it was written`);
    return found;
  };
  for (let at = 0; at < count; at++) {
    const code = program.readUInt8(at * 8);
    const target = program.readUInt8(at * 8 + 1) & 0xf;
    const source = program.readUInt8(at * 8 + 1) >> 4;
    const offset = program.readInt16LE(at * 8 + 2);
    const immediate = program.readUInt32LE(at * 8 + 4);
    if (offset < 0) throw new Error('jump backwards');
    if (code === 0x61) registers[target] = context[offset / 4];
    else if (code === 0x54) registers[target] = (value(target) & immediate) >>> 0;
    else if (code === 0x74) registers[target] = value(target) >>> immediate;
    else if (code === 0xb4) registers[target] = immediate;
    else if (code === 0xbc) registers[target] = value(source);
    else if (code === 0x56) at += value(target) === immediate ? 0 : offset;
    else if (code === 0x16) at += value(target) === immediate ? offset : 0;
    else if (code === 0x95) return value(0);
    else throw new Error(`unknown instruction ${code}`);
  }
  throw new Error('ran off the end');
}

/** What the list means, word by word: the last rule that speaks of a device and a kind of access decides about it. */
function expected(rules: readonly LinuxDeviceRule[], question: Question): number {
  const { rules: all, allowByDefault } = devicePolicy(rules);
  for (const bit of Object.values(deviceAccess)) {
    if ((question.access & bit) === 0) continue;
    const last = all.findLast(
      (rule) =>
        rule.type === question.type &&
        (rule.major === undefined || rule.major === question.major) &&
        (rule.minor === undefined || rule.minor === question.minor) &&
        (rule.access & bit) !== 0,
    );
    if (!(last?.allow ?? allowByDefault)) return 0;
  }
  return 1;
}

const { mknod, read, write } = deviceAccess;
const disk = (access: number): Question => ({ type: 'b', major: 8, minor: 0, access });

t.test('without rules everything is denied but the default devices', (t) => {
  const program = deviceProgram(devicePolicy([]));
  t.equal(run(program, { type: 'c', major: 1, minor: 3, access: read | write }), 1, '/dev/null');
  t.equal(run(program, { type: 'c', major: 136, minor: 77, access: read | write }), 1, 'a pty');
  t.equal(run(program, { type: 'c', major: 1, minor: 1, access: read }), 0, '/dev/mem');
  t.equal(run(program, disk(mknod)), 1, 'making a node');
  t.equal(run(program, disk(read)), 0);
  t.equal(run(program, disk(read | mknod)), 0, 'both kinds must be allowed');
  t.end();
});

t.test('a rule for all devices starts the list anew', (t) => {
  const allowAll = deviceProgram(devicePolicy([{ allow: true, access: 'rwm' }]));
  t.equal(run(allowAll, disk(read | write | mknod)), 1);
  const denyAgain = deviceProgram(
    devicePolicy([
      { allow: true, access: 'rwm' },
      { allow: false, type: 'a', access: 'rwm' },
    ]),
  );
  t.equal(run(denyAgain, disk(read)), 0);
  t.end();
});

t.test('the last rule decides, for each kind of access on its own', (t) => {
  const rules: LinuxDeviceRule[] = [
    { allow: false, access: 'rwm' },
    { allow: true, type: 'b', major: 8, access: 'rw' },
    { allow: false, type: 'b', major: 8, minor: 0, access: 'w' },
  ];
  const program = deviceProgram(devicePolicy(rules));
  t.equal(run(program, disk(read)), 1);
  t.equal(run(program, disk(write)), 0);
  t.equal(run(program, disk(read | write)), 0);
  t.equal(run(program, { ...disk(read | write), minor: 1 }), 1);
  t.equal(run(program, { ...disk(read), major: 0xfffffff8 }), 0, 'large numbers are not taken for others');
  t.end();
});

t.test('a rule without access is refused in the words callers know', (t) => {
  t.throws(() => devicePolicy([{ allow: true, access: 'r' }, { allow: false }]), {
    code: 'invalid argument',
    message: 'linux.resources.devices[1]: device access at 1 field cannot be empty',
  });
  t.end();
});

/** mulberry32: the same sequence on every run. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const accesses = ['r', 'w', 'm', 'rw', 'rm', 'wm', 'rwm'];

t.test('the program agrees with the meaning of the list for random lists', (t) => {
  const random = randomFrom(20_260_101);
  let wrong = 0;
  for (let round = 0; round < 400; round++) {
    const rules = Array.from({ length: random(8) }, (): LinuxDeviceRule => {
      const type = (['a', 'b', 'c'] as const)[random(3)] ?? 'a';
      return {
        allow: random(2) === 0,
        type,
        major: random(4) - 1,
        minor: random(4) - 1,
        access: accesses[random(accesses.length)] ?? 'r',
      };
    });
    const program = deviceProgram(devicePolicy(rules));
    for (let ask = 0; ask < 40; ask++) {
      const type = random(2) === 0 ? 'b' : 'c';
      const question: Question = { type, major: random(3), minor: random(3), access: 1 + random(7) };
      if (run(program, question) !== expected(rules, question)) wrong++;
    }
  }
  t.equal(wrong, 0);
  t.end();
});

t.test('v1 exceptions are the list with every taken-back part left out', (t) => {
  const written = (rules: LinuxDeviceRule[]) =>
    deviceExceptions(devicePolicy(rules))
      .filter(({ rule }) => rule.index !== undefined)
      .map(({ rule: { type, major = '*', minor = '*' }, access }) => `${type} ${major}:${minor} ${access}`);
  const base: LinuxDeviceRule[] = [
    { allow: true, type: 'b', major: 8, minor: 0, access: 'rw' },
    { allow: true, type: 'b', major: 8, minor: 0, access: 'm' },
    { allow: false, type: 'b', access: 'w' },
  ];
  t.strictSame(written(base), [`b 8:0 ${read | mknod}`]);
  t.strictSame(written([{ allow: true, access: 'rwm' }, ...base]), ['b *:* 4'], 'denials are the exceptions then');
  t.end();
});

t.test('v1 refuses a denial that takes a part back from a wider rule', (t) => {
  const rules: LinuxDeviceRule[] = [
    { allow: true, type: 'b', major: 8, access: 'rw' },
    { allow: false, type: 'b', major: 8, minor: 0, access: 'w' },
  ];
  t.throws(() => deviceExceptions(devicePolicy(rules)), { code: 'invalid argument', message: /devices\[1\]/ });
  t.end();
});
