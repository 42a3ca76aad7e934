/**
 * The runtime spec (config.json) of a new container: containerd's defaults, then the image's config, then what the
 * caller asked for. A pure function of its options; users are resolved and the host is looked at before.
 */
import { defaultCapabilities, defaultMaskedPaths, defaultMounts, defaultReadonlyPaths } from '@gantry/oci';
import type { IdMaps, LinuxNamespace, Mount, Process, Spec } from '@gantry/oci';
import { defaultNofile, defaultPath, denyAllDevices, hostNetworkMounts, hostSysMount } from './defaults.ts';
import { mergeEnvironment } from './environment.ts';
import { privilegedLinux, privilegedMounts } from './privileged.ts';
import type { HostPrivileges } from './privileged.ts';
import { defaultSeccomp } from './seccomp.ts';
import type { ResolvedUser } from './user.ts';

/** The part of the runtime spec this client writes. */
const ociVersion = '1.1.0';

/** CFS period that `--cpus` is expressed in. */
const cpuPeriodUs = 100_000;

/** What an image's config says about the process. Hostile input; the runtime checks paths and names. */
export interface ImageProcess {
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly workingDir: string;
  readonly user: string;
}

/** What the caller may choose; what is absent comes from the image or the defaults. */
export interface ProcessOptions {
  /** Replaces the image's command; its entrypoint stays in front. */
  readonly args?: readonly string[] | undefined;
  /** Replaces the image's entrypoint, and drops its command. */
  readonly entrypoint?: readonly string[] | undefined;
  /** `NAME=value` entries on top of the image's. */
  readonly env?: readonly string[] | undefined;
  readonly workdir?: string | undefined;
  readonly terminal?: boolean | undefined;
  readonly terminalSize?: { readonly columns: number; readonly rows: number } | undefined;
}

export interface SpecOptions extends ProcessOptions {
  readonly id: string;
  readonly namespace: string;
  readonly image: ImageProcess;
  readonly user: ResolvedUser;
  readonly hostname?: string | undefined;
  readonly readOnly?: boolean | undefined;
  readonly memoryBytes?: number | undefined;
  /** Processors' worth of time, e.g. 1.5. */
  readonly cpus?: number | undefined;
  readonly mounts?: readonly Mount[] | undefined;
  /** `none`: a network namespace of its own with loopback only. */
  readonly network?: 'none' | 'host' | undefined;
  /** A user namespace with these ids; default: the host's. */
  readonly userNamespace?: IdMaps | undefined;
  /** Given: everything this process may do itself, and the host's devices. */
  readonly privileged?: HostPrivileges | undefined;
  /** Default true; false leaves system calls unfiltered. */
  readonly seccomp?: boolean | undefined;
  /** True on a host whose controllers are all on cgroup v2: the container then gets its own cgroup namespace. */
  readonly unifiedCgroups?: boolean | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

/** The whole document. Every list is a new array, so that the caller may go on from it. */
export function generateSpec(options: SpecOptions): Spec {
  const hostNetwork = options.network === 'host';
  const base = options.privileged === undefined ? [...defaultMounts] : privilegedMounts(defaultMounts);
  // A new sysfs shows the network, which is not the user namespace's: the kernel refuses it.
  const foreignNetwork = hostNetwork && options.userNamespace !== undefined ? [hostSysMount] : [];
  const mounts = [...base, ...(hostNetwork ? hostNetworkMounts : []), ...foreignNetwork, ...(options.mounts ?? [])];
  return {
    ociVersion,
    process: generateProcess(options),
    root: { path: 'rootfs', readonly: options.readOnly ?? false },
    ...(options.hostname === undefined ? {} : { hostname: options.hostname }),
    mounts: overridden(mounts),
    ...(options.annotations === undefined ? {} : { annotations: { ...options.annotations } }),
    linux: generateLinux(options, hostNetwork),
  };
}

/** The init process: args, environment, identity and limits. */
function generateProcess(options: SpecOptions): Process {
  const { user, image } = options;
  const capabilities = options.privileged?.capabilities ?? defaultCapabilities;
  const process = overlayProcess(options, image);
  return {
    ...process,
    user: { uid: user.uid, gid: user.gid, additionalGids: [...user.additionalGids] },
    capabilities: { bounding: [...capabilities], effective: [...capabilities], permitted: [...capabilities] },
    rlimits: [{ type: 'RLIMIT_NOFILE', hard: defaultNofile, soft: defaultNofile }],
    noNewPrivileges: options.privileged === undefined,
  };
}

/** Args, environment, directory and terminal; what `exec` overlays on a running container's process as well. */
function overlayProcess(
  options: ProcessOptions,
  image: ImageProcess,
): Pick<Process, 'args' | 'env' | 'cwd' | 'terminal' | 'consoleSize'> {
  const entrypoint = options.entrypoint ?? image.entrypoint;
  const dropCmd = options.args !== undefined || options.entrypoint !== undefined;
  const terminal = options.terminal ?? false;
  const size = options.terminalSize;
  const env = mergeEnvironment(
    [defaultPath, ...(terminal ? ['TERM=xterm'] : [])],
    mergeEnvironment(image.env, options.env ?? []),
  );
  const workdir = options.workdir ?? image.workingDir;
  return {
    args: [...entrypoint, ...(dropCmd ? (options.args ?? []) : image.cmd)],
    env,
    cwd: workdir === '' ? '/' : workdir,
    terminal,
    ...(terminal && size !== undefined ? { consoleSize: { height: size.rows, width: size.columns } } : {}),
  };
}

function generateLinux(options: SpecOptions, hostNetwork: boolean): NonNullable<Spec['linux']> {
  const capabilities = options.privileged?.capabilities ?? defaultCapabilities;
  const namespaces: LinuxNamespace[] = [
    { type: 'pid' },
    { type: 'ipc' },
    { type: 'uts' },
    { type: 'mount' },
    ...(hostNetwork ? [] : [{ type: 'network' as const }]),
    ...(options.userNamespace === undefined ? [] : [{ type: 'user' as const }]),
    ...(options.unifiedCgroups === true ? [{ type: 'cgroup' as const }] : []),
  ];
  const limits = {
    ...(options.memoryBytes === undefined ? {} : { memory: { limit: options.memoryBytes } }),
    ...(options.cpus === undefined
      ? {}
      : { cpu: { quota: Math.round(options.cpus * cpuPeriodUs), period: cpuPeriodUs } }),
  };
  const common = { cgroupsPath: `/${options.namespace}/${options.id}`, namespaces, ...options.userNamespace };
  if (options.privileged !== undefined) return { ...common, ...privilegedLinux(options.privileged, limits) };
  return {
    ...common,
    resources: { devices: [denyAllDevices], ...limits },
    maskedPaths: [...defaultMaskedPaths],
    readonlyPaths: [...defaultReadonlyPaths],
    ...((options.seccomp ?? true) ? { seccomp: defaultSeccomp(capabilities) } : {}),
  };
}

/** A later mount on the same destination replaces the earlier one, at the later one's place. */
function overridden(mounts: readonly Mount[]): Mount[] {
  return mounts.filter((mount, index) => !mounts.slice(index + 1).some((l) => l.destination === mount.destination));
}

/** Overlay for `exec`: the container's own process with other arguments. */
export interface ExecProcessOptions extends ProcessOptions {
  readonly args: readonly string[];
  /** Default: the container's own user. */
  readonly user?: ResolvedUser | undefined;
  /** Every capability of `capabilities` for this process, whatever the container's init has. */
  readonly privileged?: HostPrivileges | undefined;
}

/**
 * The process of an exec: identity, capabilities and limits of the container's init, with the caller's arguments.
 */
export function generateExecProcess(spec: Spec, options: ExecProcessOptions): Process {
  const init: Process | undefined = spec.process;
  const image = { env: init?.env ?? [], entrypoint: [], cmd: [], workingDir: init?.cwd ?? '/', user: '' };
  const { consoleSize: _unused, ...inherited } = init ?? { user: { uid: 0, gid: 0 }, cwd: '/' };
  const { user, privileged } = options;
  return {
    ...inherited,
    ...overlayProcess({ ...options, entrypoint: [] }, image),
    ...(user === undefined ? {} : { user: { uid: user.uid, gid: user.gid, additionalGids: [...user.additionalGids] } }),
    ...(privileged === undefined
      ? {}
      : {
          capabilities: {
            bounding: [...privileged.capabilities],
            effective: [...privileged.capabilities],
            permitted: [...privileged.capabilities],
          },
        }),
  };
}
