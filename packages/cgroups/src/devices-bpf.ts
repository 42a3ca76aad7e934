/**
 * Device rules on v2: the BPF program that the kernel asks about every use of a device node (BPF_PROG_TYPE_CGROUP_DEVICE,
 * kernel ≥ 4.15; 32-bit compares ≥ 5.1).
 *
 * The program gets `struct bpf_cgroup_dev_ctx { u32 access_type, major, minor }` (kind of access in the upper, type of
 * device in the lower 16 bits of the first) and answers 1 to allow. It looks at the rules from the last to the first and
 * keeps the kinds of access that no rule has decided yet: a deny rule that speaks of one of them ends with 0, an allow
 * rule takes its kinds away and ends with 1 when none is left.
 */
import type { DevicePolicy, DeviceRule } from './device-rules.ts';

/** BPF_DEVCG_DEV_*. */
const deviceType = { b: 1, c: 2 } as const;

/** Registers: the answer, the context (scratch once it is read), what is compared. */
const r = { answer: 0, context: 1, scratch: 1, type: 2, undecided: 3, major: 4, minor: 5 } as const;

/** Opcodes: class | operation | source (linux/bpf_common.h, linux/bpf.h). */
const op = {
  loadWord: 0x61, // BPF_LDX | BPF_MEM | BPF_W
  and32: 0x54, // BPF_ALU | BPF_AND | BPF_K
  shiftRight32: 0x74, // BPF_ALU | BPF_RSH | BPF_K
  move32: 0xb4, // BPF_ALU | BPF_MOV | BPF_K
  moveRegister32: 0xbc, // BPF_ALU | BPF_MOV | BPF_X
  jumpNotEqual32: 0x56, // BPF_JMP32 | BPF_JNE | BPF_K
  jumpEqual32: 0x16, // BPF_JMP32 | BPF_JEQ | BPF_K
  exit: 0x95, // BPF_JMP | BPF_EXIT
} as const;

/** One instruction of 8 bytes; `offset` counts instructions from the next one. */
interface Instruction {
  readonly code: number;
  readonly target?: number;
  readonly source?: number;
  readonly offset?: number;
  readonly immediate?: number;
}

const answer = (allow: boolean): Instruction[] => [
  { code: op.move32, target: r.answer, immediate: allow ? 1 : 0 },
  { code: op.exit },
];

const prologue: readonly Instruction[] = [
  { code: op.loadWord, target: r.type, source: r.context, offset: 0 },
  { code: op.moveRegister32, target: r.undecided, source: r.type },
  { code: op.and32, target: r.type, immediate: 0xffff },
  { code: op.shiftRight32, target: r.undecided, immediate: 16 },
  { code: op.loadWord, target: r.major, source: r.context, offset: 4 },
  { code: op.loadWord, target: r.minor, source: r.context, offset: 8 },
];

function decide({ allow, access }: DeviceRule): Instruction[] {
  const verdict = answer(allow);
  const skip = verdict.length;
  if (allow) {
    return [
      { code: op.and32, target: r.undecided, immediate: 0xffff & ~access },
      { code: op.jumpNotEqual32, target: r.undecided, immediate: 0, offset: skip },
      ...verdict,
    ];
  }
  return [
    { code: op.moveRegister32, target: r.scratch, source: r.undecided },
    { code: op.and32, target: r.scratch, immediate: access },
    { code: op.jumpEqual32, target: r.scratch, immediate: 0, offset: skip },
    ...verdict,
  ];
}

function ruleInstructions(rule: DeviceRule): Instruction[] {
  const decision = decide(rule);
  const conditions: (readonly [register: number, value: number])[] = [[r.type, deviceType[rule.type]]];
  if (rule.major !== undefined) conditions.push([r.major, rule.major]);
  if (rule.minor !== undefined) conditions.push([r.minor, rule.minor]);
  const tests = conditions.map(([target, immediate], index) => ({
    code: op.jumpNotEqual32,
    target,
    immediate,
    // Over the remaining conditions and the decision, to the next rule.
    offset: conditions.length - index - 1 + decision.length,
  }));
  return [...tests, ...decision];
}

/** The program of a policy as the kernel's array of `struct bpf_insn`, 8 bytes each. */
export function deviceProgram({ allowByDefault, rules }: DevicePolicy): Buffer {
  const instructions = [...prologue, ...rules.toReversed().flatMap(ruleInstructions), ...answer(allowByDefault)];
  const program = Buffer.alloc(instructions.length * 8);
  for (const [index, { code, target = 0, source = 0, offset = 0, immediate = 0 }] of instructions.entries()) {
    program.writeUInt8(code, index * 8);
    // Bit fields of a byte: on little endian machines the target is the lower half.
    program.writeUInt8((source << 4) | target, index * 8 + 1);
    program.writeInt16LE(offset, index * 8 + 2);
    program.writeUInt32LE(immediate >>> 0, index * 8 + 4);
  }
  return program;
}
