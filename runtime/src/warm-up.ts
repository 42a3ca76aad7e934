/**
 * Compiling, before the first container, what making one runs.
 *
 * V8 compiles a function when it is first called, and looks properties up slowly until a function has been called some
 * times. A process that forks does this once for all its children: whatever it has run is shared with them, and what it
 * has not run each of them compiles anew, on pages of its own. So a container is created, started, entered and destroyed
 * here, some times, over a kernel that only says what is expected: once as the parent sees it and once as the child does.
 * What the kernel is really asked is refused or only looked at (`exerciseCalls`).
 */
import { exerciseCalls, makedev, RecordingSyscalls, S_IFCHR, S_IFDIR, S_IFREG } from '@gantry/libc';
import type { FileStat, Path, Syscalls } from '@gantry/libc';
import type { CgroupHierarchy } from '@gantry/cgroups';
import { defaultCapabilities, defaultMaskedPaths, defaultMounts, defaultReadonlyPaths, parseSpec } from '@gantry/oci';
import type { Process, Spec } from '@gantry/oci';
import type { Container, CreateRequest } from './container.ts';
import { createContainer, createIn } from './create.ts';
import { hostCgroups } from './host-cgroups.ts';

/** After as many runs V8 has gathered what it needs to look properties up fast. */
const ROUNDS = 12;

const timeoutMs = 1000;
const stdio = { stdin: -1, stdout: 1, stderr: 2 };
const created = '{"kind":"created"}';
const executing = '{"kind":"executing"}';

/** To be called once, before the first container, by a process that has the time. Touches nothing outside of it. */
export function warmUp(): void {
  exerciseCalls(ROUNDS);
  for (let round = 0; round < ROUNDS; round++) rehearse();
}

/** One container's life, and what it came to: the calls of the parent, of the child and of a child that is exec'd. */
export function rehearse(): readonly RecordingSyscalls[] {
  const request: CreateRequest = {
    id: 'warm-up',
    bundle: '/nowhere/gantry-warm-up',
    spec: parseSpec(usualText),
    rootfs: [{ type: 'overlay', source: 'overlay', options: ['lowerdir=/a:/b', 'upperdir=/c', 'workdir=/d', 'ro'] }],
    stdio,
    timeoutMs,
  };
  const parent = obligingKernel(() => process.pid, [created, executing, '', executing, '']);
  endsQuietly(() => {
    const container = createIn(parent, hierarchyOver(parent), request);
    look(container);
    container.start();
    execIn(container);
    container.kill(0);
    container.destroy();
  });
  // The fake's execve throws where the process would be gone, and the undoing of a create that failed follows.
  const init = obligingKernel(() => 0, ['grouped', 'start']);
  endsQuietly(() => void createIn(init, hierarchyOver(init), request));
  const pids = [process.pid];
  const entering = obligingKernel(() => pids.shift() ?? 0, [created]);
  endsQuietly(() => execIn(createIn(entering, hierarchyOver(entering), request)));
  endsQuietly(() => void createContainer(parent, { ...request, id: '' }));
  return [parent, init, entering];
}

function execIn(container: Container): void {
  container.exec({ process: usualProcess, stdio, timeoutMs });
}

/** What a shim asks of every container, and of one that lives a moment. */
function look(container: Container): void {
  for (const part of ['pid', 'console', 'hasPrivatePidNamespace', 'spec', 'cgroup'] as const) void container[part];
  const notice = container.watchOom(0);
  notice.read();
  notice.close();
}

function endsQuietly(run: () => void): void {
  try {
    run();
  } catch {
    // That it ended is all there is to know.
  }
}

/** The host's own hierarchies, so that the code for its version is run. Their files are only read, and are not there. */
function hierarchyOver(sys: Syscalls): CgroupHierarchy {
  return { ...hostCgroups(), sys };
}

const usualProcess: Process = {
  args: ['true'],
  cwd: '/',
  env: ['PATH=/usr/bin:/bin'],
  user: { uid: 0, gid: 0, additionalGids: [1] },
  noNewPrivileges: true,
  rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1024, hard: 1024 }],
  oomScoreAdj: 0,
  capabilities: { bounding: defaultCapabilities, effective: defaultCapabilities, permitted: defaultCapabilities },
};

function usualSpec(): Spec {
  return {
    ociVersion: '1.0.0',
    process: usualProcess,
    root: { path: 'rootfs', readonly: true },
    hostname: 'warm-up',
    mounts: [
      ...defaultMounts,
      { destination: '/x', type: 'bind', source: '/', options: ['rbind', 'ro', 'rprivate'] },
      { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['ro', 'nosuid', 'noexec'] },
    ],
    annotations: { 'io.example.key': 'value' },
    linux: {
      cgroupsPath: '/gantry-warm-up/of-nobody',
      resources: {
        devices: [{ allow: false, access: 'rwm' }],
        cpu: { shares: 1024, quota: 50_000, period: 100_000 },
        memory: { limit: 2 ** 26, swap: 2 ** 27 },
        pids: { limit: 100 },
      },
      namespaces: [{ type: 'pid' }, { type: 'ipc' }, { type: 'uts' }, { type: 'mount' }, { type: 'network' }],
      maskedPaths: defaultMaskedPaths,
      readonlyPaths: defaultReadonlyPaths,
    },
  };
}

const usualText = JSON.stringify(usualSpec());

/** Where a node or a file has to be for everything to go its usual way; what else is there is a directory. */
const nodes = /^\/dev\/null$|^\/proc\/(?:kcore|keys|sysrq-trigger)$/;
const files = /passwd$|true$/;
const absent = /^\/dev\/.|^\/proc\/(?:acpi|asound|scsi)|^\/usr\/bin/;

function modeOf(path: string): number {
  if (nodes.test(path)) return S_IFCHR | 0o666;
  return (files.test(path) ? S_IFREG : S_IFDIR) | 0o755;
}

/** Says what lets everything go its usual way; what a child or a parent has to say comes in turn. */
function obligingKernel(clone: () => number, answers: readonly string[]): RecordingSyscalls {
  let inode = 0n;
  let unread = false;
  let next = 50;
  const paths = new Map<number, string>();
  const open = (path: Path): number => {
    next = next === 99 ? 50 : next + 1;
    paths.set(next, path.toString());
    return next;
  };
  const stat = (path: string): FileStat => ({
    dev: 0n,
    ino: inode++,
    mode: modeOf(path),
    nlink: 2,
    uid: 0,
    gid: 0,
    rdev: makedev(1, 3),
    size: 1n,
    blocks: 0n,
    atimeNs: 0n,
    mtimeNs: 0n,
    ctimeNs: 0n,
  });
  const pathOf = (fd: number, path: Path): string => (path.length > 0 ? path.toString() : (paths.get(fd) ?? '/'));
  return new RecordingSyscalls()
    .play('clone', clone)
    .play('openat2', (_, path) => open(path))
    .play('openat2IfPresent', (_, path) => (absent.test(path.toString()) ? undefined : open(path)))
    .play('fstat', (fd) => stat(paths.get(fd) ?? '/dev/null'))
    .play('fstatat', (fd, path) => stat(pathOf(fd, path)))
    .play('fstatatIfPresent', (fd, path) => (absent.test(path.toString()) ? undefined : stat(pathOf(fd, path))))
    .play('openatIfPresent', (_, path) => {
      unread = true;
      return open(path);
    })
    .play('read', (_, into) => {
      const length = unread ? into.write('oom_kill 0\n') : 0;
      unread = false;
      return length;
    })
    .answer('lgetxattr', Buffer.from('ancestor'))
    .play('poll', (entries) => entries.map((_, index) => (index === 0 && entries.length > 1 ? 1 : 0)))
    .answerInTurn('receiveMessage', ...answers.map((text) => ({ data: Buffer.from(text), fds: [] })));
}
