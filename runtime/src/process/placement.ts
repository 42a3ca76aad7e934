/** On which CPUs a process runs and on which memory nodes its pages lie, as the kernel's bit masks. */
import { failedPrecondition, invalidArgument, wrap } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import type { ProcessCalls } from '@gantry/libc';
import { memoryPolicyModes } from '@gantry/oci';
import type { CpuAffinity, LinuxMemoryPolicy, MemoryPolicyFlag } from '@gantry/oci';

/** As many as any kernel is built for (CONFIG_NR_CPUS, MAX_NUMNODES). */
const MAX_NUMBER = 8191;

const policyFlags: Readonly<Record<MemoryPolicyFlag, number>> = {
  MPOL_F_STATIC_NODES: 0x8000,
  MPOL_F_RELATIVE_NODES: 0x4000,
  MPOL_F_NUMA_BALANCING: 0x2000,
};

export interface AffinityPlan {
  /** Before the process joins the container's control group; undefined: as inherited. */
  readonly initial: Buffer | undefined;
  /** After it has. */
  readonly final: Buffer | undefined;
}

export interface MemoryPolicyPlan {
  readonly mode: number;
  readonly nodes: Buffer;
}

/** `0-2,5` as a mask in whole 64-bit words. Invalid argument for anything else. */
export function parseNumberMask(text: string, field: string): Buffer {
  const numbers = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .flatMap((part) => range(part, field));
  if (numbers.length === 0) throw invalidArgument(`${field}: no number in ${JSON.stringify(text)}`);
  const mask = Buffer.alloc((Math.floor(Math.max(...numbers) / 64) + 1) * 8);
  for (const number of numbers) mask.writeUInt8(mask.readUInt8(number >> 3) | (1 << (number & 7)), number >> 3);
  return mask;
}

function range(part: string, field: string): number[] {
  const match = /^(\d+)(?:-(\d+))?$/.exec(part);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  if (match === null || last < first || last > MAX_NUMBER) {
    throw invalidArgument(`${field}: invalid range ${JSON.stringify(part)}`);
  }
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

export function affinityPlan({ initial = '', final = '' }: CpuAffinity, field: string): AffinityPlan {
  return {
    initial: initial === '' ? undefined : parseNumberMask(initial, `${field}.initial`),
    final: final === '' ? undefined : parseNumberMask(final, `${field}.final`),
  };
}

export function setAffinity(sys: Pick<ProcessCalls, 'schedSetaffinity'>, mask: Buffer | undefined): void {
  if (mask === undefined) return;
  try {
    sys.schedSetaffinity(0, mask);
  } catch (err) {
    throw wrap(err, 'setting CPU affinity');
  }
}

export function memoryPolicyPlan({ mode, nodes = '', flags = [] }: LinuxMemoryPolicy): MemoryPolicyPlan {
  return {
    mode: flags.reduce((bits, flag) => bits | policyFlags[flag], memoryPolicyModes.indexOf(mode)),
    nodes: nodes === '' ? Buffer.alloc(0) : parseNumberMask(nodes, 'linux.memoryPolicy.nodes'),
  };
}

export function applyMemoryPolicy(sys: Pick<ProcessCalls, 'setMempolicy'>, policy: MemoryPolicyPlan | undefined): void {
  if (policy === undefined) return;
  try {
    sys.setMempolicy(policy.mode, policy.nodes);
  } catch (err) {
    if (isErrno(err, 'ENOSYS'))
      throw failedPrecondition('linux.memoryPolicy: this kernel has no memory policies (NUMA)');
    throw wrap(err, 'linux.memoryPolicy');
  }
}
