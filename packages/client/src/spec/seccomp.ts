/** The default seccomp profile of a container with given capabilities, as the runtime spec wants it. */
import { release } from 'node:os';
import type { LinuxSeccomp, SeccompSyscall } from '@gantry/oci';
import {
  allowedByArch,
  allowedByArgument,
  allowedByCapability,
  allowedFromKernel48,
  alwaysAllowed,
  architecturesByArch,
  cloneNamespaceFlags,
} from './seccomp-rules.ts';

const enosys = 38;

/** The machine the profile is for; tests pass a literal. */
export interface SeccompHost {
  /** Node's `process.arch`. */
  readonly arch: string;
  /** As `uname -r`. */
  readonly kernelRelease: string;
}

/**
 * The profile for a process whose bounding set is `capabilities` (`CAP_…` names): the more it may do anyway, the more
 * calls are let through. Refused calls fail with EPERM, except clone3 without CAP_SYS_ADMIN: ENOSYS makes libc fall
 * back to clone, whose flags can be looked at.
 */
export function defaultSeccomp(
  capabilities: readonly string[],
  host: SeccompHost = { arch: process.arch, kernelRelease: release() },
): LinuxSeccomp {
  const names = new Set(alwaysAllowed);
  for (const name of allowedByArch[host.arch] ?? []) names.add(name);
  if (isAtLeast(host.kernelRelease, 4, 8)) for (const name of allowedFromKernel48) names.add(name);
  for (const capability of capabilities) for (const name of allowedByCapability[capability] ?? []) names.add(name);
  const administrator = capabilities.includes('CAP_SYS_ADMIN');
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    architectures: architecturesByArch[host.arch] ?? [],
    syscalls: [
      { names: [...names].toSorted(), action: 'SCMP_ACT_ALLOW' },
      ...allowedByArgument.map(({ name, op, value }): SeccompSyscall => ({
        names: [name],
        action: 'SCMP_ACT_ALLOW',
        args: [{ index: 0, value, op }],
      })),
      ...(administrator ? [] : cloneRules(host.arch)),
    ],
  };
}

/** Rules for making processes without the right to make namespaces. */
function cloneRules(arch: string): SeccompSyscall[] {
  // On s390 the kernel takes clone's flags as the second argument.
  const index = arch.startsWith('s390') ? 1 : 0;
  const args = [{ index, value: cloneNamespaceFlags, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' as const }];
  return [
    { names: ['clone'], action: 'SCMP_ACT_ALLOW', args },
    { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: enosys },
  ];
}

function isAtLeast(kernelRelease: string, major: number, minor: number): boolean {
  const [a = 0, b = 0] = kernelRelease.split(/[.-]/, 2).map(Number);
  return a > major || (a === major && b >= minor);
}
