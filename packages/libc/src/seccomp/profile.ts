/**
 * A seccomp profile as the OCI runtime specification words it (config-linux.md, "Seccomp"), and its words as numbers.
 * The type is a structural part of the specification's `linux.seccomp`, so that a parsed one can be passed as it is.
 */
import {
  SECCOMP_RET_ALLOW,
  SECCOMP_RET_ERRNO,
  SECCOMP_RET_KILL_PROCESS,
  SECCOMP_RET_KILL_THREAD,
  SECCOMP_RET_LOG,
  SECCOMP_RET_TRACE,
  SECCOMP_RET_TRAP,
  SECCOMP_RET_USER_NOTIF,
} from '../constants/seccomp.ts';

export interface SeccompArgument {
  /** 0 to 5. */
  readonly index: number;
  readonly value: number | bigint;
  /** The value compared with by SCMP_CMP_MASKED_EQ, where `value` is the mask. */
  readonly valueTwo?: number | bigint | undefined;
  /** SCMP_CMP_NE, LT, LE, EQ, GE, GT or MASKED_EQ. */
  readonly op: string;
}

export interface SeccompRule {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number | undefined;
  readonly args?: readonly SeccompArgument[] | undefined;
}

export interface SeccompProfile {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number | undefined;
  /** SCMP_ARCH_…; the machine's own is always included. */
  readonly architectures?: readonly string[] | undefined;
  readonly syscalls?: readonly SeccompRule[] | undefined;
}

const EPERM = 1;

const actions: Readonly<Record<string, number>> = {
  SCMP_ACT_KILL: SECCOMP_RET_KILL_THREAD,
  SCMP_ACT_KILL_THREAD: SECCOMP_RET_KILL_THREAD,
  SCMP_ACT_KILL_PROCESS: SECCOMP_RET_KILL_PROCESS,
  SCMP_ACT_TRAP: SECCOMP_RET_TRAP,
  SCMP_ACT_ERRNO: SECCOMP_RET_ERRNO,
  SCMP_ACT_TRACE: SECCOMP_RET_TRACE,
  SCMP_ACT_LOG: SECCOMP_RET_LOG,
  SCMP_ACT_NOTIFY: SECCOMP_RET_USER_NOTIF,
  SCMP_ACT_ALLOW: SECCOMP_RET_ALLOW,
};

/** enum scmp_compare of libseccomp. */
const operators: Readonly<Record<string, number>> = {
  SCMP_CMP_NE: 1,
  SCMP_CMP_LT: 2,
  SCMP_CMP_LE: 3,
  SCMP_CMP_EQ: 4,
  SCMP_CMP_GE: 5,
  SCMP_CMP_GT: 6,
  SCMP_CMP_MASKED_EQ: 7,
};

/** A profile that cannot be made into a filter; the message names the fault. */
export class SeccompProfileError extends Error {
  override readonly name = 'SeccompProfileError';
}

/** The filter's return value for an action; ERRNO and TRACE carry a number in their low half, EPERM when none is given. */
export function actionValue(action: string, errnoRet: number | undefined): number {
  const value = actions[action];
  if (value === undefined) throw new SeccompProfileError(`seccomp action ${JSON.stringify(action)} is not known`);
  if (value !== SECCOMP_RET_ERRNO && value !== SECCOMP_RET_TRACE) return value;
  const low = errnoRet ?? EPERM;
  if (!Number.isInteger(low) || low < 0 || low > 0xffff) {
    throw new SeccompProfileError(`seccomp errnoRet ${low} is not in the range 0 to 65535`);
  }
  return value + low;
}

/** libseccomp's number of a comparison. */
export function operatorValue(op: string): number {
  const value = operators[op];
  if (value === undefined) throw new SeccompProfileError(`seccomp operator ${JSON.stringify(op)} is not known`);
  return value;
}

/** libseccomp's name of an architecture: `SCMP_ARCH_X86_64` is `x86_64`. */
export function architectureName(architecture: string): string {
  if (!/^SCMP_ARCH_[A-Z0-9_]+$/.test(architecture)) {
    throw new SeccompProfileError(`seccomp architecture ${JSON.stringify(architecture)} is not known`);
  }
  return architecture.slice('SCMP_ARCH_'.length).toLowerCase();
}
