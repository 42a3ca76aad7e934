/**
 * The instructions put before a filter so that a system call newer than its profile fails with ENOSYS and not with the
 * profile's default action: a C library takes ENOSYS as "use the older call", and EPERM as a failure.
 *
 * "Newer" is a number above the largest that any name of the profile has on that architecture. The program looks at
 * the architecture and the number only, and leaves everything else to the filter behind it:
 *
 *     ld arch
 *     jeq A, next, after this block       one block for each audit architecture
 *       ld nr
 *       (x86-64) jge 0x40000000: compare with x32's maximum, or leave it to the filter without one
 *       jgt maximum: ret ENOSYS
 *       ja to the filter
 *     filter …
 */
import { SECCOMP_RET_ERRNO } from '../constants/seccomp.ts';

const ENOSYS = 38;
/** The value of `seccomp_data.arch` for x86-64 and for x32. */
export const AUDIT_ARCH_X86_64 = 0xc000003e;
const X32_BIT = 0x40000000;

// Instruction codes of classic BPF (linux/bpf_common.h).
const LD_W_ABS = 0x20;
const JMP_JA = 0x05;
const JMP_JEQ_K = 0x15;
const JMP_JGT_K = 0x25;
const JMP_JGE_K = 0x35;
const RET_K = 0x06;

/** Offsets in struct seccomp_data. */
const DATA_NR = 0;
const DATA_ARCH = 4;

/** The maxima of one audit architecture; x86-64 and x32 share theirs and are told apart by bit 30 of the number. */
export interface HighestNumbers {
  readonly auditArch: number;
  /** Undefined when the profile does not hold this architecture itself, only x32. */
  readonly highest: number | undefined;
  /** With the x32 bit; undefined when x32 is not in the profile. Only for x86-64. */
  readonly highestX32?: number | undefined;
  /** s390: number 0 is what a number too large for the entry code becomes. */
  readonly zeroIsUnknown?: boolean;
}

type Instruction = readonly [code: number, jumpTrue: number, jumpFalse: number, k: number];

/** The program for these architectures, to be put before the filter. Empty when there is nothing to say. */
export function enosysProgram(architectures: readonly HighestNumbers[]): Buffer {
  const blocks = architectures.map(block);
  if (blocks.length === 0) return Buffer.alloc(0);
  const program: Instruction[] = [[LD_W_ABS, 0, 0, DATA_ARCH]];
  let rest = blocks.reduce((sum, body) => sum + body.length + 2, 0);
  for (const [index, body] of blocks.entries()) {
    const architecture = architectures[index]?.auditArch ?? 0;
    rest -= body.length + 2;
    program.push([JMP_JEQ_K, 0, body.length + 1, architecture], ...body, [JMP_JA, 0, 0, rest]);
  }
  return encode(program);
}

/** The tests within one architecture; falls out at its end when the filter is to decide. */
function block({ auditArch, highest, highestX32, zeroIsUnknown }: HighestNumbers): Instruction[] {
  const refuse: Instruction = [RET_K, 0, 0, SECCOMP_RET_ERRNO + ENOSYS];
  const above = (limit: number | undefined): Instruction[] =>
    limit === undefined ? [] : [[JMP_JGT_K, 0, 1, limit], refuse];
  const own = above(highest);
  const x32 = above(highestX32);
  const load: Instruction = [LD_W_ABS, 0, 0, DATA_NR];
  if (zeroIsUnknown === true) return [load, [JMP_JEQ_K, 0, 1, 0], refuse, ...own];
  if (auditArch !== AUDIT_ARCH_X86_64) return [load, ...own];
  return [load, [JMP_JGE_K, 0, x32.length + 1, X32_BIT], ...x32, [JMP_JA, 0, 0, own.length], ...own];
}

function encode(program: readonly Instruction[]): Buffer {
  const bytes = Buffer.alloc(program.length * 8);
  for (const [index, [code, jumpTrue, jumpFalse, k]] of program.entries()) {
    bytes.writeUInt16LE(code, index * 8);
    bytes.writeUInt8(jumpTrue, index * 8 + 2);
    bytes.writeUInt8(jumpFalse, index * 8 + 3);
    bytes.writeUInt32LE(k >>> 0, index * 8 + 4);
  }
  return bytes;
}
