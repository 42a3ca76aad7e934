import t from 'tap';
import { AUDIT_ARCH_X86_64, enosysProgram, type HighestNumbers } from './enosys.ts';

const FILTER = 'filter';
const ENOSYS = 0x50026;
const I386 = 0x40000003;
const X32 = 0x40000000;

/** Runs the program as the kernel would; falling out at its end is the filter's turn. */
function decide(architectures: readonly HighestNumbers[], arch: number, nr: number): number | string {
  const program = enosysProgram(architectures);
  let accumulator = 0;
  for (let pc = 0; pc * 8 < program.length; pc++) {
    const at = pc * 8;
    const k = program.readUInt32LE(at + 4);
    const jump = (taken: boolean): void => void (pc += program.readUInt8(at + (taken ? 2 : 3)));
    const code = program.readUInt16LE(at);
    if (code === 0x20) accumulator = k === 4 ? arch : nr;
    else if (code === 0x15) jump(accumulator === k);
    else if (code === 0x25) jump(accumulator > k);
    else if (code === 0x35) jump(accumulator >= k);
    else if (code === 0x05) pc += k;
    else if (code === 0x06) return k;
    else throw new Error(`unexpected instruction 0x${code.toString(16)}`);
    if (pc * 8 + 8 > program.length) throw new Error('jumped past the first instruction of the filter');
  }
  return FILTER;
}

t.test('a number above the highest of its architecture is ENOSYS, any other is for the filter', async (t) => {
  const architectures = [
    { auditArch: AUDIT_ARCH_X86_64, highest: 300, highestX32: X32 + 540 },
    { auditArch: I386, highest: 400 },
  ];
  for (const [arch, nr, expected] of [
    [AUDIT_ARCH_X86_64, 0, FILTER],
    [AUDIT_ARCH_X86_64, 300, FILTER],
    [AUDIT_ARCH_X86_64, 301, ENOSYS],
    [AUDIT_ARCH_X86_64, X32 - 1, ENOSYS],
    [AUDIT_ARCH_X86_64, X32 + 301, FILTER],
    [AUDIT_ARCH_X86_64, X32 + 540, FILTER],
    [AUDIT_ARCH_X86_64, X32 + 541, ENOSYS],
    [AUDIT_ARCH_X86_64, 0xffffffff, ENOSYS],
    [I386, 400, FILTER],
    [I386, 401, ENOSYS],
    [I386, 0xffffffff, ENOSYS],
    [0xc00000b7, 5000, FILTER],
  ] as const) {
    t.equal(decide(architectures, arch, nr), expected, `${arch.toString(16)} ${nr}`);
  }
});

t.test('without x32 in the profile its numbers are for the filter', async (t) => {
  const architectures = [{ auditArch: AUDIT_ARCH_X86_64, highest: 300 }];
  t.equal(decide(architectures, AUDIT_ARCH_X86_64, X32 + 5000), FILTER);
  t.equal(decide(architectures, AUDIT_ARCH_X86_64, 5000), ENOSYS);
});

t.test('a profile that names nothing leaves everything to the filter', async (t) => {
  t.equal(decide([{ auditArch: AUDIT_ARCH_X86_64, highest: undefined }], AUDIT_ARCH_X86_64, 5000), FILTER);
  t.equal(enosysProgram([]).length, 0);
});

t.test('number 0 is unknown on s390', async (t) => {
  const architectures = [{ auditArch: 0x80000016, highest: 400, zeroIsUnknown: true }];
  t.equal(decide(architectures, 0x80000016, 0), ENOSYS);
  t.equal(decide(architectures, 0x80000016, 1), FILTER);
  t.equal(decide(architectures, 0x80000016, 401), ENOSYS);
});
