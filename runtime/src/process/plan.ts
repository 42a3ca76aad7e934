/** Everything about a process that can be decided before it exists, so that the forked child computes nothing. */
import { invalidArgument, wrap } from '@gantry/errors';
import { buildSeccompFilter, SECCOMP_FILTER_FLAG_NEW_LISTENER, seccompFlags } from '@gantry/libc';
import type { TerminalSize } from '@gantry/libc';
import type { LinuxSeccomp, Process, Spec } from '@gantry/oci';
import { namespaceOf } from '../namespaces/plan.ts';
import { hostId } from '../namespaces/user-mappings.ts';
import { capabilityMasks, kernelLastCapability } from './capabilities.ts';
import type { CapabilityMasks } from './capabilities.ts';
import { orderedEnvironment } from './environment.ts';
import { limitsToSet } from './limits.ts';
import type { LimitToSet } from './limits.ts';
import { affinityPlan, memoryPolicyPlan } from './placement.ts';
import type { AffinityPlan, MemoryPolicyPlan } from './placement.ts';
import { mustKeepGroups } from '../rootless.ts';
import { isUnprivileged } from '../rootless.ts';
import { asksAgent, checkAgent } from '../seccomp-agent.ts';
import { ioPriorityValue, personalityValue, schedulerAttributes } from './scheduling.ts';
import type { SchedulingPlan } from './scheduling.ts';

export interface SeccompPlan {
  readonly program: Buffer;
  readonly flags: number;
  /** An agent gets the filter's listener. */
  readonly asksAgent: boolean;
  /** Nobody may take the listener out of the process, which sends it. */
  readonly sendsListener: boolean;
}

export interface ProcessPlan extends SchedulingPlan {
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  /** It has joined a user namespace and given up the runtime's groups before, or its maker may not give them up. */
  readonly groupsAreGone: boolean;
  readonly umask: number;
  readonly capabilities: CapabilityMasks;
  readonly lastCapability: number;
  /** Of a process that is added to a container. */
  readonly affinity: AffinityPlan | undefined;
  readonly memoryPolicy: MemoryPolicyPlan | undefined;
  readonly noNewPrivileges: boolean;
  readonly seccomp: SeccompPlan | undefined;
  readonly apparmorProfile: string | undefined;
  readonly selinuxLabel: string | undefined;
  readonly limits: readonly LimitToSet[];
  readonly oomScoreAdj: number | undefined;
  readonly terminal: boolean;
  readonly consoleSize: TerminalSize | undefined;
}

/** The umask of a process whose user names none. */
const DEFAULT_UMASK = 0o022;

/**
 * The plan of a process in a container: `process` is the configuration's own or an exec request's, which inherits
 * capabilities, limits and restrictions of the container's own process where it names none. `field` is where it stands, for error texts.
 */
export function planProcess(spec: Spec, process: Process, field: string): ProcessPlan {
  const { user, args = [], consoleSize } = process;
  const own = spec.process;
  if (args.length === 0 || args[0] === undefined) throw invalidArgument(`${field}.args: must not be empty`);
  if (args[0] === '') throw invalidArgument(`${field}.args[0]: must not be empty`);
  const { uidMappings, gidMappings, seccomp, personality, memoryPolicy } = spec.linux ?? {};
  const affinity = process === own ? undefined : (process.execCPUAffinity ?? own?.execCPUAffinity);
  if (hostId(uidMappings, user.uid) === undefined) {
    throw invalidArgument(`cannot setuid to unmapped uid ${user.uid} in user namespace`);
  }
  for (const gid of [user.gid, ...(user.additionalGids ?? [])]) {
    if (hostId(gidMappings, gid) !== undefined) continue;
    throw invalidArgument(`cannot setgid to unmapped gid ${gid} in user namespace`);
  }
  return {
    args,
    env: orderedEnvironment(process.env ?? []),
    cwd: process.cwd,
    uid: user.uid,
    gid: user.gid,
    groups: user.additionalGids ?? [],
    groupsAreGone:
      mustKeepGroups() ||
      namespaceOf(spec, 'user')?.path !== undefined ||
      (process !== own && namespaceOf(spec, 'user') !== undefined),
    umask: user.umask ?? DEFAULT_UMASK,
    capabilities: capabilityMasks(process.capabilities ?? own?.capabilities),
    lastCapability: kernelLastCapability(),
    noNewPrivileges: process.noNewPrivileges ?? own?.noNewPrivileges ?? false,
    seccomp: seccomp === undefined ? undefined : seccompPlan(seccomp),
    apparmorProfile: nonEmpty(process.apparmorProfile) ?? nonEmpty(own?.apparmorProfile),
    selinuxLabel: nonEmpty(process.selinuxLabel) ?? nonEmpty(own?.selinuxLabel),
    limits: limitsToSet((process.rlimits ?? []).length > 0 ? process : (own ?? process)),
    oomScoreAdj: process.oomScoreAdj ?? own?.oomScoreAdj,
    terminal: process.terminal ?? false,
    consoleSize: consoleSize && { columns: consoleSize.width, rows: consoleSize.height },
    scheduler: process.scheduler && schedulerAttributes(process.scheduler),
    ioPriority: process.ioPriority && ioPriorityValue(process.ioPriority),
    personality: personality && personalityValue(personality),
    affinity: affinity && affinityPlan(affinity, `${field}.execCPUAffinity`),
    memoryPolicy: memoryPolicy && memoryPolicyPlan(memoryPolicy),
  };
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}

/** Filters are a container's own and its execs need the same one again; building one takes milliseconds. */
const builtFilters = new WeakMap<LinuxSeccomp, SeccompPlan>();

function seccompPlan(profile: LinuxSeccomp): SeccompPlan {
  const built = builtFilters.get(profile);
  if (built !== undefined) return built;
  const asks = asksAgent(profile);
  const sendsListener = asks && isUnprivileged();
  if (asks) checkAgent(profile, sendsListener);
  try {
    const flags = seccompFlags(profile.flags) | (asks ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0);
    const plan = { program: buildSeccompFilter(profile), flags, asksAgent: asks, sendsListener };
    builtFilters.set(profile, plan);
    return plan;
  } catch (err) {
    throw wrap(err, 'linux.seccomp', 'invalid argument');
  }
}
