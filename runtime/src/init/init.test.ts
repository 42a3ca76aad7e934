import t from 'tap';
import { makedev, ProcessGone, RecordingSyscalls, S_IFCHR } from '@gantry/libc';
import type { Cgroup } from '@gantry/cgroups';
import type { ProcessPlan } from '../process/plan.ts';
import { rootPropagation } from '../rootfs/mount-options.ts';
import { runInit } from './init.ts';
import type { InitPlan } from './init.ts';

const process: ProcessPlan = {
  args: ['/bin/true'],
  env: ['HOME=/'],
  cwd: '/',
  uid: 0,
  gid: 0,
  groups: [],
  groupsAreGone: false,
  umask: 0o022,
  capabilities: { bounding: 0n, effective: 0n, permitted: 0n, inheritable: 0n, ambient: 0n },
  lastCapability: 0,
  noNewPrivileges: true,
  seccomp: undefined,
  apparmorProfile: undefined,
  selinuxLabel: undefined,
  limits: [],
  oomScoreAdj: undefined,
  terminal: false,
  consoleSize: undefined,
  scheduler: undefined,
  ioPriority: undefined,
  personality: undefined,
  affinity: undefined,
  memoryPolicy: undefined,
};

function planOf(steps: string[], change: Partial<InitPlan> = {}): InitPlan {
  return {
    id: 'c',
    bundle: '/b',
    spec: { ociVersion: '1.0.0', hostname: 'h' },
    namespaces: {
      cloneFlags: 0,
      newUser: false,
      newNetwork: true,
      newCgroup: false,
      newTime: false,
      joins: [],
      pid: undefined,
      user: undefined,
      needsIntermediate: false,
    },
    process,
    rootfs: {
      root: [{ fd: 50, destination: '/' }],
      mounts: [],
      propagation: rootPropagation(undefined),
      cgroup: {
        isUnified: true,
        ownNamespace: false,
        unifiedMount: undefined,
        unifiedDirectory: undefined,
        hierarchies: [],
      },
      devices: [],
      bindDevices: false,
      maskedPaths: [],
      readonlyPaths: [],
      isReadonly: false,
      mountLabel: undefined,
      noPivot: false,
      isOnHost: false,
      attachAt: undefined,
    },
    stdio: { stdin: -1, stdout: 1, stderr: 2 },
    cgroup: { joinSelf: () => void steps.push('join') } as unknown as Cgroup,
    unifiedDone: false,
    preservedFds: 0,
    startListener: undefined,
    groupFollows: true,
    groupByParent: false,
    cgroupFirst: false,
    cgroupBeforeJoins: false,
    limitsByParent: false,
    keptDescriptors: [61],
    noNewKeyring: false,
    parentFd: 60,
    childFd: 61,
    ...change,
  };
}

/** A kernel whose files are the device made last; the messages of the parent come as they must. */
function kernel(steps: string[], answers: readonly string[] = ['grouped', 'start']): RecordingSyscalls {
  let rdev = makedev(1, 3);
  let ino = 0n;
  const stat = () => ({
    dev: 0n,
    ino: ino++,
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
    .play('fstatat', stat)
    .play('fstat', stat)
    .play('moveMount', () => void steps.push('mount'))
    .play('pivotRoot', () => void steps.push('pivot'))
    .play('closeRange', () => void steps.push('close'))
    .play('setresuid', () => void steps.push('user'))
    .play('sendMessage', (_, data) => {
      steps.push(String((JSON.parse(data.toString()) as { kind: unknown }).kind));
      return data.length;
    })
    .answerInTurn('receiveMessage', ...answers.map((text) => ({ data: Buffer.from(text), fds: [] })));
}

t.test('init assembles, joins its group late, pivots, lets go, and executes only when it is told to', (t) => {
  const steps: string[] = [];
  const sys = kernel(steps);
  t.throws(() => runInit(sys, planOf(steps)), ProcessGone);
  t.same(steps.slice(0, 9), ['mount', 'join', 'pivot', 'close', 'close', 'close', 'user', 'created', 'executing']);
  t.ok(sys.names().includes('execve'));
  t.equal(sys.names()[0], 'resetSignals', 'a signal must not find a handler of the parent');
  t.end();
});

t.test('a cgroup namespace or mount makes it join first', (t) => {
  const steps: string[] = [];
  t.throws(() => runInit(kernel(steps), planOf(steps, { cgroupFirst: true })), ProcessGone);
  t.same(steps.slice(0, 3), ['join', 'mount', 'pivot']);
  t.end();
});

t.test('an init whose parent is gone ends without executing anything', (t) => {
  for (const answers of [[], ['grouped']]) {
    const steps: string[] = [];
    const sys = kernel(steps, answers);
    t.throws(() => runInit(sys, planOf(steps)), ProcessGone);
    t.notOk(sys.names().includes('execve'));
    t.same(sys.argumentsOf('exitNow'), [[1]]);
  }
  t.end();
});

t.test('whatever call fails, the child reports it and ends', (t) => {
  const complete = kernel([]);
  t.throws(() => runInit(complete, planOf([])), ProcessGone);
  const names = complete
    .names()
    .filter((name) => !['exitNow', 'receiveMessage', 'sendMessage', 'execve'].includes(name));
  const counts = new Map<string, number>();
  for (const name of names) {
    const nth = (counts.get(name) ?? 0) + 1;
    counts.set(name, nth);
    const steps: string[] = [];
    const sys = kernel(steps).fail(name, nth, 'EIO');
    t.throws(() => runInit(sys, planOf(steps)), ProcessGone, `${name} ${nth}`);
    t.ok(steps.includes('error'), `${name} ${nth} is reported`);
    t.notOk(sys.names().includes('execve') && !steps.includes('executing'), `${name} ${nth}`);
    t.same(sys.argumentsOf('exitNow').at(-1), [1]);
  }
  t.end();
});
