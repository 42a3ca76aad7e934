/** CPU and I/O scheduling of a process as raw system call arguments. */
import { IOPRIO_CLASS_SHIFT, IOPRIO_WHO_PROCESS, PER_LINUX, PER_LINUX32 } from '@gantry/libc';
import type { ProcessCalls } from '@gantry/libc';
import { ioPriorityClasses, schedulerFlags, schedulerPolicies, toUint64 } from '@gantry/oci';
import type { IoPriority, LinuxPersonality, Scheduler } from '@gantry/oci';

/** struct sched_attr, its first version (sched_setattr(2)). */
const SCHED_ATTR_BYTES = 48;

/** `process.scheduler` as struct sched_attr. The positions in the lists of names are the kernel's numbers. */
export function schedulerAttributes(scheduler: Scheduler): Buffer {
  const attr = Buffer.alloc(SCHED_ATTR_BYTES);
  const flags = (scheduler.flags ?? []).reduce((bits, name) => bits | (1 << schedulerFlags.indexOf(name)), 0);
  attr.writeUInt32LE(SCHED_ATTR_BYTES, 0);
  attr.writeUInt32LE(schedulerPolicies.indexOf(scheduler.policy), 4);
  attr.writeBigUInt64LE(BigInt(flags), 8);
  attr.writeInt32LE(scheduler.nice ?? 0, 16);
  attr.writeUInt32LE(scheduler.priority ?? 0, 20);
  attr.writeBigUInt64LE(toUint64(scheduler.runtime ?? 0), 24);
  attr.writeBigUInt64LE(toUint64(scheduler.deadline ?? 0), 32);
  attr.writeBigUInt64LE(toUint64(scheduler.period ?? 0), 40);
  return attr;
}

/** `process.ioPriority` as ioprio_set(2) takes it; classes are numbered from 1. */
export function ioPriorityValue({ class: name, priority }: IoPriority): number {
  return ((ioPriorityClasses.indexOf(name) + 1) << IOPRIO_CLASS_SHIFT) | priority;
}

export function personalityValue({ domain }: LinuxPersonality): bigint {
  return BigInt(domain === 'LINUX32' ? PER_LINUX32 : PER_LINUX);
}

/** What of it a process has; undefined is "as inherited". */
export interface SchedulingPlan {
  readonly scheduler: Buffer | undefined;
  readonly ioPriority: number | undefined;
  readonly personality: bigint | undefined;
}

export function applyScheduling(
  sys: Pick<ProcessCalls, 'schedSetattr' | 'ioprioSet' | 'personality'>,
  plan: SchedulingPlan,
): void {
  if (plan.scheduler !== undefined) sys.schedSetattr(plan.scheduler);
  if (plan.ioPriority !== undefined) sys.ioprioSet(IOPRIO_WHO_PROCESS, 0, plan.ioPriority);
  if (plan.personality !== undefined) sys.personality(plan.personality);
}
