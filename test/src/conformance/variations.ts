/**
 * The ways in which a generated configuration departs from the ordinary one. Each has a name, so that a difference can be
 * told by the departures that led to it.
 */
import path from 'node:path';
import type { Linux, LinuxNamespace, Process } from '@gantry/oci';
import type { Random, TestSpec, Writable } from '../index.ts';

/** What a variation may refer to. */
export interface Places {
  /** Directories and files outside the rootfs: `dir/…`, `file`. */
  readonly volume: string;
  /** Where hooks write what they were told. */
  readonly hookLog: string;
}

export interface Variation {
  readonly name: string;
  readonly apply: (spec: TestSpec, random: Random, places: Places) => void;
}

const capabilities =
  'CHOWN DAC_OVERRIDE FOWNER KILL SETGID SETUID NET_ADMIN NET_RAW SYS_ADMIN SYS_CHROOT MKNOD AUDIT_WRITE'
    .split(' ')
    .map((name) => `CAP_${name}`);

const mountFlags = [
  'ro',
  'nosuid',
  'nodev',
  'noexec',
  'noatime',
  'relatime',
  'nodiratime',
  'strictatime',
  'rw',
  'suid',
  'exec',
];
const propagations = [
  'private',
  'rprivate',
  'slave',
  'rslave',
  'shared',
  'rshared',
  'unbindable',
  'runbindable',
] as const;

function without(spec: TestSpec, type: LinuxNamespace['type']): void {
  spec.linux.namespaces = (spec.linux.namespaces ?? []).filter((one) => one.type !== type);
}

function resources(spec: TestSpec): Writable<NonNullable<Linux['resources']>> {
  return (spec.linux.resources ??= {});
}

function bind(spec: TestSpec, destination: string, source: string, options: readonly string[]): void {
  spec.mounts.push({ destination, type: 'bind', source, options: [...options] });
}

const hookOf = (kind: string, log: string) => ({
  path: '/bin/sh',
  args: ['sh', '-c', `{ printf '%s %s ' ${kind} "$HOOK"; cat; echo; } >> ${log}`],
  env: [`HOOK=of ${kind}`, 'PATH=/bin:/usr/bin'],
});

/** Every runtime is to accept these. */
export const variations: readonly Variation[] = [
  {
    name: 'user',
    apply(spec, random) {
      spec.process.user = {
        uid: random.pick([0, 1000, 1234, 65534]),
        gid: random.pick([0, 1000, 4321]),
        ...(random.chance(0.5) ? { additionalGids: random.some([5, 2000, 3000, 0]) } : {}),
      };
    },
  },
  {
    name: 'umask',
    apply: (spec, random) =>
      void (spec.process.user = { ...spec.process.user, umask: random.pick([0, 0o27, 0o77, 0o22]) }),
  },
  {
    name: 'capabilities',
    apply(spec, random) {
      const bounding = random.some(capabilities);
      const permitted = random.some(bounding, 0.8);
      const inheritable = random.chance(0.4) ? random.some(permitted) : [];
      spec.process.capabilities = {
        bounding,
        permitted,
        effective: random.some(permitted, 0.8),
        inheritable,
        ambient: random.some(inheritable),
      };
    },
  },
  { name: 'no capabilities', apply: (spec) => void delete spec.process.capabilities },
  { name: 'new privileges', apply: (spec) => void (spec.process.noNewPrivileges = false) },
  {
    name: 'limits',
    apply(spec, random) {
      const types = [
        'RLIMIT_NOFILE',
        'RLIMIT_CORE',
        'RLIMIT_NPROC',
        'RLIMIT_STACK',
        'RLIMIT_FSIZE',
        'RLIMIT_CPU',
        'RLIMIT_MSGQUEUE',
      ] as const;
      spec.process.rlimits = random.draw(types, 1 + random.below(3)).map((type) => {
        const hard = type === 'RLIMIT_STACK' ? 8 << 20 : 200 + random.below(700);
        return { type, hard, soft: random.chance(0.5) ? hard : hard >> 1 };
      });
    },
  },
  { name: 'oom score', apply: (spec, random) => void (spec.process.oomScoreAdj = random.pick([0, 1, 500, 1000])) },
  {
    name: 'environment',
    apply(spec, random) {
      const all = [
        'HOME=/elsewhere',
        'EMPTY=',
        'TWICE=1',
        'TWICE=2',
        'SPACE=a b',
        'EQUALS=a=b=c',
        'Ünïcode=ß',
        'TERM=xterm',
        'PATH=/bin',
      ];
      spec.process.env = ['PATH=/bin:/usr/bin', ...random.some(all)];
    },
  },
  { name: 'no environment', apply: (spec) => void delete spec.process.env },
  {
    name: 'working directory',
    apply: (spec, random) =>
      void (spec.process.cwd = random.pick(['/tmp', '/root', '/deep/er/place', '/home/', '/etc/link', '/var/../tmp'])),
  },
  { name: 'read-only root', apply: (spec) => void (spec.root.readonly = true) },
  { name: 'long host name', apply: (spec) => void (spec.hostname = 'a'.repeat(63)) },
  { name: 'no host name', apply: (spec) => void delete spec.hostname },
  { name: 'host network', apply: (spec) => without(spec, 'network') },
  { name: 'host ipc', apply: (spec) => without(spec, 'ipc') },
  {
    name: 'host uts',
    apply(spec) {
      without(spec, 'uts');
      delete spec.hostname;
    },
  },
  { name: 'cgroup namespace', apply: (spec) => void spec.linux.namespaces?.push({ type: 'cgroup' }) },
  {
    name: 'user namespace',
    apply(spec, random) {
      spec.linux.namespaces?.push({ type: 'user' });
      const map = random.pick([
        [{ containerID: 0, hostID: 0, size: 70_000 }],
        [
          { containerID: 0, hostID: 0, size: 1000 },
          { containerID: 1000, hostID: 101_000, size: 69_000 },
        ],
      ]);
      spec.linux.uidMappings = structuredClone(map);
      spec.linux.gidMappings = structuredClone(map);
    },
  },
  {
    name: 'tmpfs',
    apply(spec, random) {
      const data = random.some(['size=64k', 'mode=1770', 'uid=1000', 'gid=2000', 'nr_inodes=100']);
      const destination = random.pick(['/mnt/a', '/tmp', '/mnt/made/tmpfs', '/home']);
      spec.mounts.push({
        destination,
        type: 'tmpfs',
        source: 'tmpfs',
        options: [...random.some(mountFlags, 0.3), ...data],
      });
    },
  },
  {
    name: 'bind of a directory',
    apply: (spec, random, { volume }) =>
      bind(spec, random.pick(['/mnt/a', '/mnt/new/place', '/made']), path.join(volume, 'dir'), [
        random.pick(['bind', 'rbind']),
        ...random.some(mountFlags, 0.3),
        ...(random.chance(0.5) ? [random.pick(propagations)] : []),
      ]),
  },
  {
    name: 'bind of a file',
    apply: (spec, random, { volume }) =>
      bind(spec, random.pick(['/mnt/b', '/etc/passwd', '/mnt/new/file', '/etc/kept']), path.join(volume, 'file'), [
        'bind',
        ...random.some(mountFlags, 0.3),
      ]),
  },
  {
    name: 'bind in a bind',
    apply(spec, random, { volume }) {
      bind(spec, '/mnt/c', path.join(volume, 'dir'), ['rbind', ...random.some(['nosuid', 'rprivate'])]);
      bind(spec, '/mnt/c/sub', path.join(volume, 'dir/sub'), ['bind', ...random.some(['ro', 'nodev'])]);
    },
  },
  {
    name: 'a target behind a symlink',
    apply: (spec, random, { volume }) =>
      bind(spec, random.pick(['/etc/link', '/etc/link/below', '/etc/dangling/x']), path.join(volume, 'dir'), ['rbind']),
  },
  {
    name: 'a relative destination',
    apply: (spec, _, { volume }) => bind(spec, 'mnt/a', path.join(volume, 'dir'), ['rbind', 'ro']),
  },
  {
    name: 'a destination with dots',
    apply: (spec, _, { volume }) => bind(spec, '/mnt/../../mnt/a', path.join(volume, 'dir'), ['rbind']),
  },
  {
    name: 'mount without options',
    apply: (spec) => void spec.mounts.push({ destination: '/mnt/a', type: 'tmpfs', source: 'none' }),
  },
  {
    name: 'cgroup mount',
    apply(spec, random) {
      spec.mounts = spec.mounts.filter(({ destination }) => destination !== '/sys/fs/cgroup');
      const options = ['nosuid', 'noexec', 'nodev', 'relatime', ...(random.chance(0.5) ? ['ro'] : [])];
      spec.mounts.push({ destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options });
    },
  },
  {
    name: 'one mount less',
    apply(spec, random) {
      const gone = random.pick(['/dev/shm', '/dev/mqueue', '/sys', '/dev/pts']);
      spec.mounts = spec.mounts.filter(({ destination }) => destination !== gone);
    },
  },
  {
    name: 'devices',
    apply(spec, random) {
      spec.linux.devices = random.some(
        [
          { path: '/dev/extra', type: 'c', major: 1, minor: 7, fileMode: 0o640, uid: 1000, gid: 2000 },
          { path: '/dev/sub/zero', type: 'c', major: 1, minor: 5 },
          { path: '/dev/block', type: 'b', major: 7, minor: 200, fileMode: 0o600 },
          { path: '/dev/fifo', type: 'p', major: 0, minor: 0, fileMode: 0o622 },
        ] as const,
        0.6,
      );
    },
  },
  {
    name: 'device rules',
    apply(spec, random) {
      const rules = [
        { allow: true, type: 'c', major: 1, minor: 5, access: 'r' },
        { allow: true, type: 'b', major: 7, access: 'rw' },
        { allow: true, type: 'c', major: 10, minor: 200, access: 'rwm' },
        { allow: false, type: 'c', major: 10, minor: 200, access: 'm' },
        { allow: true, type: 'c', access: 'm' },
      ] as const;
      resources(spec).devices = [{ allow: false, access: 'rwm' }, ...random.some(rules)];
    },
  },
  { name: 'all devices', apply: (spec) => void (resources(spec).devices = [{ allow: true, access: 'rwm' }]) },
  {
    name: 'memory',
    apply(spec, random) {
      resources(spec).memory = {
        limit: random.pick([64 << 20, 100_000_001, -1]),
        ...(random.chance(0.5) ? { reservation: 32 << 20 } : {}),
      };
    },
  },
  {
    name: 'cpu',
    apply(spec, random) {
      resources(spec).cpu = random.pick([
        { shares: 512 },
        { shares: 2 },
        { quota: 50_000, period: 100_000 },
        { quota: 20_000 },
        { quota: -1 },
        { cpus: '0' },
        { cpus: '0', mems: '0', shares: 100, quota: 150_000, period: 50_000 },
      ]);
    },
  },
  { name: 'pids', apply: (spec, random) => void (resources(spec).pids = { limit: random.pick([64, 1000, -1, 0]) }) },
  {
    name: 'sysctl',
    apply(spec, random) {
      const all: [string, string][] = [
        ['net.ipv4.ip_forward', '1'],
        ['net.ipv4.ip_unprivileged_port_start', '80'],
        ['kernel.shmmax', '123456'],
        ['kernel.msgmax', '4096'],
        ['fs.mqueue.msg_max', '20'],
      ];
      const has = (type: LinuxNamespace['type']) => spec.linux.namespaces?.some((one) => one.type === type) === true;
      const possible = all.filter(([name]) => has(name.startsWith('net.') ? 'network' : 'ipc'));
      spec.linux.sysctl = Object.fromEntries(random.some(possible));
    },
  },
  {
    name: 'masked paths',
    apply: (spec, random) =>
      void (spec.linux.maskedPaths = random.some([
        '/proc/kcore',
        '/etc/masked',
        '/var/masked',
        '/nothing/here',
        '/sys/firmware',
        '/proc/acpi',
      ])),
  },
  {
    name: 'read-only paths',
    apply: (spec, random) =>
      void (spec.linux.readonlyPaths = random.some([
        '/proc/sys',
        '/etc/kept',
        '/var',
        '/nothing/here',
        '/proc/sysrq-trigger',
      ])),
  },
  { name: 'nothing masked', apply: (spec) => void delete spec.linux.maskedPaths },
  {
    name: 'rootfs propagation',
    apply: (spec, random) => void (spec.linux.rootfsPropagation = random.pick(propagations)),
  },
  {
    name: 'seccomp',
    apply(spec, random) {
      const arm = process.arch === 'arm64';
      spec.linux.seccomp = {
        defaultAction: 'SCMP_ACT_ALLOW',
        architectures: arm ? ['SCMP_ARCH_AARCH64'] : ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86'],
        syscalls: random.some([
          { names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 38 },
          { names: ['fchmodat', 'chmod'], action: 'SCMP_ACT_ERRNO' },
          { names: ['symlink', 'symlinkat', 'no_such_call'], action: 'SCMP_ACT_KILL' },
          { names: ['mknod', 'mknodat'], action: 'SCMP_ACT_LOG' },
          { names: ['personality'], action: 'SCMP_ACT_ERRNO', args: [{ index: 0, value: 8, op: 'SCMP_CMP_NE' }] },
        ] as const),
      } as Writable<NonNullable<Linux['seccomp']>>;
    },
  },
  {
    name: 'hooks',
    apply(spec, _, { hookLog }) {
      const host = (kind: string) => [hookOf(kind, hookLog)];
      spec.hooks = {
        prestart: host('prestart'),
        createRuntime: host('createRuntime'),
        createContainer: host('createContainer'),
        startContainer: [hookOf('startContainer', '/hooked')],
        poststart: host('poststart'),
        poststop: host('poststop'),
      };
    },
  },
  { name: 'annotations', apply: (spec) => void (spec.annotations = { 'org.example.a': 'b', empty: '' }) },
  {
    name: 'old version',
    apply: (spec, random) => void (spec.ociVersion = random.pick(['1.0.0', '1.0.1-dev', '1.0.2'])),
  },
  { name: 'words', apply: (spec) => void spec.process.args?.push('two words', '', '$HOME', 'ünï') },
  { name: 'trailing slash', apply: (spec) => void (spec.root.path = './rootfs/') },
];

const set = (change: Partial<Record<keyof Process, unknown>>) => (spec: TestSpec) =>
  void Object.assign(spec.process, change);
const setLinux = (change: Partial<Record<keyof Linux, unknown>>) => (spec: TestSpec) =>
  void Object.assign(spec.linux, change);
const mount = (entry: object) => (spec: TestSpec) => void spec.mounts.push(entry as TestSpec['mounts'][number]);

/** These end before the program, or at it: what is compared is whether it is an error, and what is left. */
export const mistakes: readonly Variation[] = [
  { name: 'host name without uts', apply: (spec) => without(spec, 'uts') },
  { name: 'a namespace twice', apply: (spec) => void spec.linux.namespaces?.push({ type: 'mount' }) },
  {
    name: 'a namespace that is not there',
    apply: (spec) => {
      without(spec, 'network');
      spec.linux.namespaces?.push({ type: 'network', path: '/nothing/here' });
    },
  },
  {
    name: 'a namespace of another kind',
    apply: (spec) => {
      without(spec, 'network');
      spec.linux.namespaces?.push({ type: 'network', path: '/proc/self/ns/ipc' });
    },
  },
  { name: 'an unknown namespace', apply: (spec) => void spec.linux.namespaces?.push({ type: 'strange' as 'pid' }) },
  { name: 'no rootfs', apply: (spec) => void (spec.root.path = 'nothing') },
  { name: 'rootfs is a file', apply: (spec) => void (spec.root.path = 'config.json') },
  { name: 'sysctl of the host', apply: setLinux({ sysctl: { 'kernel.panic': '1' } }) },
  { name: 'sysctl that is not there', apply: setLinux({ sysctl: { 'net.nothing.here': '1' } }) },
  { name: 'sysctl that leaves', apply: setLinux({ sysctl: { 'net/../kernel/panic': '1' } }) },
  { name: 'an unknown file system', apply: mount({ destination: '/mnt/a', type: 'nofs', source: 'x' }) },
  {
    name: 'an unknown option',
    apply: mount({ destination: '/mnt/a', type: 'tmpfs', source: 'x', options: ['nooption=1'] }),
  },
  {
    name: 'no source',
    apply: mount({ destination: '/mnt/a', type: 'bind', source: '/nothing/here', options: ['rbind'] }),
  },
  {
    name: 'bind with data',
    apply: mount({ destination: '/mnt/a', type: 'bind', source: '/var/empty', options: ['rbind', 'size=1'] }),
  },
  { name: 'directory over a file', apply: mount({ destination: '/etc/kept', type: 'tmpfs', source: 'x' }) },
  { name: 'mount inside proc', apply: mount({ destination: '/proc/self', type: 'tmpfs', source: 'x' }) },
  { name: 'no destination', apply: mount({ destination: '', type: 'tmpfs', source: 'x' }) },
  { name: 'a user namespace without maps', apply: (spec) => void spec.linux.namespaces?.push({ type: 'user' }) },
  { name: 'maps without a user namespace', apply: setLinux({ uidMappings: [{ containerID: 0, hostID: 0, size: 1 }] }) },
  {
    name: 'an unmapped user',
    apply: (spec) => {
      spec.linux.namespaces?.push({ type: 'user' });
      spec.linux.uidMappings = spec.linux.gidMappings = [{ containerID: 0, hostID: 0, size: 5 }];
      spec.process.user = { uid: 7, gid: 0 };
    },
  },
  { name: 'an unknown limit', apply: set({ rlimits: [{ type: 'RLIMIT_STRANGE', hard: 1, soft: 1 }] }) },
  { name: 'a soft limit above the hard', apply: set({ rlimits: [{ type: 'RLIMIT_NOFILE', hard: 10, soft: 20 }] }) },
  {
    name: 'an unknown capability',
    apply: set({ capabilities: { bounding: ['CAP_STRANGE'], permitted: ['CAP_STRANGE'] } }),
  },
  { name: 'version 2', apply: (spec) => void (spec.ociVersion = '2.0.0') },
  { name: 'no version', apply: (spec) => void (spec.ociVersion = '') },
  { name: 'a relative working directory', apply: set({ cwd: 'tmp' }) },
  { name: 'no working directory', apply: set({ cwd: '' }) },
  { name: 'working directory is a file', apply: set({ cwd: '/etc/passwd' }) },
  { name: 'no arguments', apply: set({ args: [] }) },
  { name: 'no program', apply: set({ args: ['nothing'] }) },
  { name: 'no program by path', apply: set({ args: ['/bin/nothing'] }) },
  { name: 'a directory as program', apply: set({ args: ['/bin'] }) },
  { name: 'a program without permission', apply: set({ args: ['/etc/passwd'] }) },
  { name: 'no process', apply: (spec) => void Reflect.deleteProperty(spec, 'process') },
  { name: 'no root', apply: (spec) => void Reflect.deleteProperty(spec, 'root') },
  { name: 'oom score too large', apply: set({ oomScoreAdj: 2000 }) },
  { name: 'an unknown seccomp action', apply: setLinux({ seccomp: { defaultAction: 'SCMP_ACT_STRANGE' } }) },
  {
    name: 'an unknown architecture',
    apply: setLinux({ seccomp: { defaultAction: 'SCMP_ACT_ALLOW', architectures: ['SCMP_ARCH_STRANGE'] } }),
  },
  { name: 'an unknown device type', apply: setLinux({ devices: [{ path: '/dev/x', type: 'q', major: 1, minor: 1 }] }) },
  {
    name: 'a device rule without access',
    apply: (spec) => void (resources(spec).devices = [{ allow: true, type: 'c', major: 1, minor: 1 }]),
  },
  { name: 'memory limit too small', apply: (spec) => void (resources(spec).memory = { limit: 4096 }) },
  { name: 'swap below memory', apply: (spec) => void (resources(spec).memory = { limit: 64 << 20, swap: 32 << 20 }) },
  { name: 'a quota too small', apply: (spec) => void (resources(spec).cpu = { quota: 10, period: 100_000 }) },
  { name: 'no such CPU', apply: (spec) => void (resources(spec).cpu = { cpus: '4000' }) },
  { name: 'an unknown propagation', apply: setLinux({ rootfsPropagation: 'strange' }) },
  { name: 'a relative hook', apply: (spec) => void (spec.hooks = { createRuntime: [{ path: 'bin/true' }] }) },
  {
    name: 'a hook that is not there',
    apply: (spec) => void (spec.hooks = { createRuntime: [{ path: '/nothing/here' }] }),
  },
  { name: 'a prestart hook that fails', apply: (spec) => void (spec.hooks = { prestart: [{ path: '/bin/false' }] }) },
  {
    name: 'a createContainer hook that fails',
    apply: (spec) => void (spec.hooks = { createContainer: [{ path: '/bin/false' }] }),
  },
  {
    name: 'a startContainer hook that fails',
    apply: (spec) => void (spec.hooks = { startContainer: [{ path: '/bin/false' }] }),
  },
  { name: 'a poststop hook that fails', apply: (spec) => void (spec.hooks = { poststop: [{ path: '/bin/false' }] }) },
  { name: 'a signal as end', apply: set({ args: ['sh', '-c', 'kill -KILL $$; sleep 9'] }) },
  { name: 'an exit status', apply: set({ args: ['sh', '-c', 'exit 200'] }) },
  { name: 'selinux', apply: set({ selinuxLabel: 'system_u:system_r:container_t:s0' }) },
  { name: 'environment without equals', apply: set({ env: ['PATH=/bin', 'NOTHING'] }) },
];
