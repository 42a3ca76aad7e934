/**
 * Compiling what only children run.
 *
 * V8 compiles a function when it is first called. The code of init/ is called in forked children only, so that every
 * container would compile it anew, on pages of its own. One run of it in the process that forks, over a kernel that only
 * says what is expected, makes the compiled code part of what all children share.
 */
import { DEVPTS_SUPER_MAGIC, makedev, RecordingSyscalls, S_IFCHR } from '@gantry/libc';
import type { FileStat, Syscalls } from '@gantry/libc';
import type { Cgroup } from '@gantry/cgroups';
import { defaultCapabilities, defaultMaskedPaths, defaultMounts, defaultReadonlyPaths } from '@gantry/oci';
import type { Spec } from '@gantry/oci';
import { runExec } from './init/exec.ts';
import { runInit } from './init/init.ts';
import { planProcess } from './process/plan.ts';
import { rootPropagation } from './rootfs/mount-options.ts';
import { planMounts } from './rootfs/sources.ts';
import { Descriptors } from './clean-up.ts';

const ROUNDS = 3;

/** To be called once, before the first container, by a process that has the time. Touches nothing outside of it. */
export function warmUp(): void {
  const spec = usualSpec();
  const process = spec.process;
  if (process === undefined) return;
  for (let round = 0; round < ROUNDS; round++) {
    const plan = planProcess(spec, process, 'process');
    const sys = obligingKernel(['proceed', 'start']);
    const common = {
      id: 'warm-up',
      process: plan,
      stdio: { stdin: -1, stdout: 1, stderr: 2 },
      cgroup: noCgroup,
      unifiedDone: true,
      noNewKeyring: false,
      parentFd: 90,
      childFd: 91,
    };
    endsQuietly(() => runExec(obligingKernel(['proceed']), { ...common, initPidfd: 92, namespaceFlags: 0 }));
    const propagation = rootPropagation(undefined);
    const rootfs = {
      root: [{ fd: 93, destination: '/' }],
      mounts: planMounts(sys, spec.mounts ?? [], '/', propagation, new Descriptors(sys)),
      propagation,
      cgroup: {
        isUnified: false,
        ownNamespace: false,
        unifiedMount: undefined,
        unifiedDirectory: undefined,
        hierarchies: [],
      },
      devices: [],
      bindDevices: false,
      maskedPaths: defaultMaskedPaths,
      readonlyPaths: defaultReadonlyPaths,
      isReadonly: true,
      noPivot: false,
    };
    const namespaces = {
      cloneFlags: 0,
      newUser: false,
      newNetwork: true,
      newCgroup: false,
      newTime: false,
      joins: [],
      pid: undefined,
      user: undefined,
      needsIntermediate: false,
    };
    endsQuietly(() => runInit(sys, { ...common, spec, namespaces, rootfs, cgroupFirst: false }));
  }
}

/** The fake's execve and exitNow throw where the process would be gone. */
function endsQuietly(run: () => void): void {
  try {
    run();
  } catch {
    // That it ended is all there is to know.
  }
}

function usualSpec(): Spec {
  return {
    ociVersion: '1.0.0',
    process: {
      args: ['/bin/true'],
      cwd: '/',
      env: ['PATH=/bin'],
      user: { uid: 0, gid: 0, additionalGids: [1] },
      noNewPrivileges: true,
      capabilities: { bounding: defaultCapabilities, effective: defaultCapabilities, permitted: defaultCapabilities },
    },
    hostname: 'warm-up',
    mounts: [...defaultMounts, { destination: '/x', type: 'bind', source: '/', options: ['rbind', 'ro'] }],
    linux: {},
  };
}

const noCgroup = { joinSelf: () => undefined } as unknown as Cgroup;

/** Every path is there and is a file of its own: the device that was made last, or the null device. */
function obligingKernel(answers: readonly string[]): Syscalls {
  let inode = 0n;
  let rdev = makedev(1, 3);
  const stat = (): FileStat => ({
    dev: 0n,
    ino: inode++,
    mode: S_IFCHR | 0o777,
    nlink: 1,
    uid: 0,
    gid: 0,
    rdev,
    size: 0n,
    blocks: 0n,
    atimeNs: 0n,
    mtimeNs: 0n,
    ctimeNs: 0n,
  });
  return new RecordingSyscalls()
    .play('mknodat', (_, __, ___, device) => void (rdev = device))
    .play('symlinkat', () => void (rdev = makedev(1, 3)))
    .play('fstat', stat)
    .play('fstatat', stat)
    .play('fstatfs', (fd) => ({
      type: fd < 0 ? DEVPTS_SUPER_MAGIC : 0,
      blockSizeBytes: 0n,
      blocksFree: 0n,
      blocksAvailable: 0n,
      blocks: 0n,
    }))
    .play('readDirectory', () => ['0', '100000'].map((name) => Buffer.from(name)))
    .play('readlinkat', () => Buffer.from('pipe:[1]'))
    .answerInTurn('receiveMessage', ...answers.map((text) => ({ data: Buffer.from(text), fds: [] })));
}
