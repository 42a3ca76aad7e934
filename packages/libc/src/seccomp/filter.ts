/**
 * An OCI seccomp profile made into the program that seccomp(2) takes, by libseccomp: it knows every architecture's
 * system call numbers and calling conventions, and is kept up to date by the distribution.
 *
 * Runs in the parent, before a container's process exists; that process only installs the bytes.
 */
import { closeSync, fstatSync, readSync } from 'node:fs';
import {
  BPF_MAXINSNS,
  SECCOMP_FILTER_FLAG_LOG,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW,
  SECCOMP_FILTER_FLAG_TSYNC,
  SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
  SECCOMP_RET_ALLOW,
  SECCOMP_RET_ERRNO,
  SECCOMP_RET_LOG,
  SECCOMP_RET_TRACE,
  SECCOMP_RET_USER_NOTIF,
  SECCOMP_SET_MODE_FILTER,
} from '../constants/seccomp.ts';
import { EEXIST, EFAULT, ENOSYS, errnoName } from '../errno.ts';
import { check, declare, errno } from '../native.ts';
import { NR } from '../syscall-numbers.ts';
import { AUDIT_ARCH_X86_64, enosysProgram, type HighestNumbers } from './enosys.ts';
import { cachedProgram, cacheProgram } from './filter-cache.ts';
import { libseccomp } from './libseccomp.ts';
import {
  actionValue,
  architectureName,
  operatorValue,
  SeccompProfileError,
  type SeccompArgument,
  type SeccompProfile,
  type SeccompRule,
} from './profile.ts';

const c = declare('glibc', {
  memfdCreate: 'int memfd_create(const char *name, uint flags)',
  // long syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, unsigned flags, NULL)
  seccomp: 'long syscall(long nr, uint operation, uint flags, void *program)',
});

const MFD_CLOEXEC = 1;
const SOCK_FILTER_BYTES = 8;
const ARGUMENT_BYTES = 24;
const UNKNOWN_SYSCALL = -1;
/** libseccomp's token of x32; the kernel reports the audit architecture of x86-64 for it. */
const X32_TOKEN = 0x4000003e;
const S390_TOKENS: readonly number[] = [0x16, 0x80000016];

/** The latest programs by profile: libseccomp takes some 8 ms for a usual one, and each exec needs it again. */
const built = new Map<string, Buffer>();
const BUILT_MAX = 4;

/**
 * The filter program of a profile: an array of struct sock_filter for `Syscalls.seccompSetFilter`, not to be changed.
 * A name that no architecture knows is skipped, a rule that says what the default says is dropped. Rules are given to
 * libseccomp in the profile's order; for one system call an unconditional rule takes the place of conditional ones.
 * Throws SeccompProfileError naming the fault, SeccompUnavailableError without libseccomp.
 */
export function buildSeccompFilter(profile: SeccompProfile): Buffer {
  const key = sourceOf(profile);
  let program = built.get(key);
  if (program === undefined) {
    program = cachedProgram(key);
    if (program === undefined) {
      program = build(profile);
      cacheProgram(key, program);
    }
    const [oldest] = built.keys();
    if (oldest !== undefined && built.size >= BUILT_MAX) built.delete(oldest);
    built.set(key, program);
  }
  return program;
}

/** What a program is made of: the profile, and this machine's architecture, which is always part of it. */
function sourceOf(profile: SeccompProfile): string {
  let text: string;
  try {
    text = JSON.stringify(profile);
  } catch {
    // 64-bit numbers that are no JSON; most profiles have none, and go without a function called for each value.
    text = JSON.stringify(profile, (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value));
  }
  return `${process.arch} ${text}`;
}

function build(profile: SeccompProfile): Buffer {
  const library = libseccomp();
  const defaultAction = actionValue(profile.defaultAction, profile.defaultErrnoRet);
  if (defaultAction === SECCOMP_RET_USER_NOTIF) {
    throw new SeccompProfileError('SCMP_ACT_NOTIFY cannot be used as default action');
  }
  const tokens = architectureTokens(profile.architectures ?? []);
  const context = library.init(defaultAction);
  if (Number(context) === 0) throw new SeccompProfileError('seccomp_init failed');
  try {
    for (const token of tokens) {
      const result = library.archAdd(context, token);
      if (result !== 0 && result !== -EEXIST) throw libraryError('seccomp_arch_add', result, `0x${token.toString(16)}`);
    }
    for (const rule of profile.syscalls ?? []) addRule(context, rule, defaultAction);
    const program = Buffer.concat([newerSyscalls(profile, defaultAction, tokens), exportProgram(context)]);
    const instructions = program.length / SOCK_FILTER_BYTES;
    if (instructions > BPF_MAXINSNS) {
      throw new SeccompProfileError(
        `seccomp filter has ${instructions} instructions, the kernel takes ${BPF_MAXINSNS}`,
      );
    }
    return program;
  } finally {
    library.release(context);
  }
}

/** The machine's own architecture and the profile's, as libseccomp's tokens, each once. */
function architectureTokens(architectures: readonly string[]): number[] {
  const tokens = new Set([libseccomp().archNative()]);
  for (const architecture of architectures) {
    const token = libseccomp().archResolve(architectureName(architecture));
    if (token === 0) throw new SeccompProfileError(`seccomp architecture ${architecture} is not known to libseccomp`);
    tokens.add(token);
  }
  return [...tokens];
}

function addRule(context: number, rule: SeccompRule, defaultAction: number): void {
  const action = actionValue(rule.action, rule.errnoRet);
  if (action === SECCOMP_RET_USER_NOTIF && rule.names.includes('write')) {
    throw new SeccompProfileError('SCMP_ACT_NOTIFY cannot be used for the write syscall');
  }
  if (action === defaultAction) return;
  const conditions = alternatives(rule.args ?? []);
  for (const name of rule.names) {
    const number = libseccomp().resolve(cName(name));
    if (number === UNKNOWN_SYSCALL) continue;
    for (const args of conditions) {
      const result = libseccomp().ruleAdd(context, action, number, args.length / ARGUMENT_BYTES, args);
      if (result !== 0) throw libraryError('seccomp_rule_add', result, name);
    }
  }
}

function cName(name: string): string {
  if (!/^\w+$/.test(name)) throw new SeccompProfileError(`seccomp syscall name ${JSON.stringify(name)} is not valid`);
  return name;
}

/**
 * The conditions of a rule as libseccomp's arrays. All of an array hold together; a rule that tests one argument twice
 * means "or", and becomes one array for each of its conditions.
 */
function alternatives(args: readonly SeccompArgument[]): Buffer[] {
  const encoded = args.map(encodeArgument);
  const testsOneTwice = new Set(args.map(({ index }) => index)).size < args.length;
  return testsOneTwice ? encoded : [Buffer.concat(encoded)];
}

/** struct scmp_arg_cmp. */
function encodeArgument({ index, op, value, valueTwo }: SeccompArgument): Buffer {
  if (!Number.isInteger(index) || index < 0 || index > 5) {
    throw new SeccompProfileError(`seccomp argument index ${index} is not in the range 0 to 5`);
  }
  const bytes = Buffer.alloc(ARGUMENT_BYTES);
  bytes.writeUInt32LE(index, 0);
  bytes.writeUInt32LE(operatorValue(op), 4);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)), 8);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(valueTwo ?? 0)), 16);
  return bytes;
}

/** The ENOSYS instructions. A default that lets calls through, or says ENOSYS itself, needs none. */
function newerSyscalls(profile: SeccompProfile, defaultAction: number, tokens: readonly number[]): Buffer {
  const kind = defaultAction - (defaultAction & 0xffff);
  const letsThrough = kind === SECCOMP_RET_ALLOW || kind === SECCOMP_RET_LOG || kind === SECCOMP_RET_TRACE;
  if (letsThrough || defaultAction === SECCOMP_RET_ERRNO + ENOSYS) return Buffer.alloc(0);
  const names = (profile.syscalls ?? []).flatMap((rule) => rule.names);
  const highest = (token: number): number | undefined => {
    const numbers = names.map((name) => libseccomp().resolveArch(token, cName(name)));
    const maximum = numbers.reduce((a, b) => Math.max(a, b), -1);
    return maximum < 0 ? undefined : maximum;
  };
  const architectures: HighestNumbers[] = [];
  for (const token of tokens) {
    if (token === X32_TOKEN) continue;
    const highestX32 = token === AUDIT_ARCH_X86_64 && tokens.includes(X32_TOKEN) ? highest(X32_TOKEN) : undefined;
    const zeroIsUnknown = S390_TOKENS.includes(token);
    architectures.push({ auditArch: token, highest: highest(token), highestX32, zeroIsUnknown });
  }
  return enosysProgram(architectures);
}

function exportProgram(context: number): Buffer {
  const fd = check(c.memfdCreate('seccomp', MFD_CLOEXEC), 'memfd_create', '');
  try {
    const result = libseccomp().exportBpf(context, fd);
    if (result !== 0) throw libraryError('seccomp_export_bpf', result, 'filter');
    const program = Buffer.alloc(fstatSync(fd).size);
    readSync(fd, program, 0, program.length, 0);
    return program;
  } finally {
    closeSync(fd);
  }
}

function libraryError(call: string, result: number, subject: string): SeccompProfileError {
  return new SeccompProfileError(`${call} ${subject}: ${errnoName(-result)}`);
}

const flagValues: Readonly<Record<string, number>> = {
  SECCOMP_FILTER_FLAG_TSYNC: SECCOMP_FILTER_FLAG_TSYNC,
  SECCOMP_FILTER_FLAG_LOG: SECCOMP_FILTER_FLAG_LOG,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW: SECCOMP_FILTER_FLAG_SPEC_ALLOW,
  SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
};

/**
 * The `flags` of a profile as seccomp(2) takes them. TSYNC is accepted and left out: the process that installs the
 * filter has one thread. An absent list means SPEC_ALLOW where the kernel has it, an empty one means no flags. Throws
 * SeccompProfileError for a flag that is unknown here or to the kernel.
 */
export function seccompFlags(names: readonly string[] | undefined): number {
  if (names === undefined) {
    return kernelTakes(SECCOMP_FILTER_FLAG_SPEC_ALLOW) ? SECCOMP_FILTER_FLAG_SPEC_ALLOW : 0;
  }
  let flags = 0;
  for (const name of names) {
    const value = flagValues[name];
    if (value === undefined) throw new SeccompProfileError(`seccomp flag ${JSON.stringify(name)} is not known`);
    if (!kernelTakes(value)) throw new SeccompProfileError(`seccomp flag ${name} is not supported by this kernel`);
    flags |= value;
  }
  return flags & ~SECCOMP_FILTER_FLAG_TSYNC;
}

/** Asks with a null program: the kernel looks at the flags first (EINVAL), then at the program (EFAULT). */
function kernelTakes(flag: number): boolean {
  return c.seccomp(NR.seccomp, SECCOMP_SET_MODE_FILTER, flag, null) < 0 && errno() === EFAULT;
}
