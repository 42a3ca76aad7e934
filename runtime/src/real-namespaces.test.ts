/** Namespaces of a container: made, mapped, joined and shared; as root, one real container a test. */
import t from 'tap';
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Bundle, whyNotReal } from './testing/scenario.ts';

const skip = whyNotReal() ?? false;

function bundle(t: { teardown(done: () => void): void }): Bundle {
  const made = new Bundle();
  t.teardown(() => made.remove());
  return made;
}

t.test('a user namespace maps the container’s root to a plain user of the host', { skip }, (t) => {
  const b = bundle(t);
  const { output, status, result } = b.runOnce(
    [
      'sh',
      '-c',
      'cat /proc/self/uid_map; id -u; touch /tmp/f && stat -c %u /tmp/f; stat -c "%t %T" /dev/null; cat /proc/self/setgroups',
    ],
    (spec) => {
      spec.linux.namespaces?.push({ type: 'user' });
      spec.linux.uidMappings = [{ containerID: 0, hostID: 100_000, size: 1000 }];
      spec.linux.gidMappings = [{ containerID: 0, hostID: 100_000, size: 1000 }];
      spec.mounts.push({ destination: '/tmp', type: 'tmpfs', source: 'tmpfs', options: ['mode=1777'] });
    },
  );
  t.same(result.leaks, []);
  t.equal(status, 0, output + JSON.stringify(result.error));
  t.same(
    output
      .trim()
      .split('\n')
      .map((line) => line.trim().replaceAll(/ +/g, ' ')),
    ['0 100000 1000', '0', '0', '1 3', 'allow'],
  );
  t.end();
});

t.test('the root file system of a user namespace is a directory with mapped ids', { skip }, (t) => {
  const b = bundle(t);
  const maps = ['uidmap=0:100000:1000', 'gidmap=0:100000:1000'];
  const { output, status, result } = b.runOnce(
    ['sh', '-c', 'stat -c %u:%g / /bin/sh; echo x > /made; chown 5:6 /made; stat -c %u:%g /made'],
    (spec) => {
      spec.linux.namespaces?.push({ type: 'user' });
      spec.linux.uidMappings = [{ containerID: 0, hostID: 100_000, size: 1000 }];
      spec.linux.gidMappings = [{ containerID: 0, hostID: 100_000, size: 1000 }];
    },
    { rootfs: [{ type: 'bind', source: b.rootfs, options: [...maps, 'rw', 'rbind'] }] },
  );
  if (result.error?.message.includes('MOUNT_ATTR_IDMAP') === true) {
    t.comment('skipped: this file system has no id-mapped mounts');
    t.end();
    return;
  }
  t.same(result.leaks, []);
  t.equal(status, 0, output + JSON.stringify(result.error));
  t.equal(output, '0:0\n0:0\n5:6\n');
  const { uid, gid } = statSync(join(b.rootfs, 'made'));
  t.same([uid, gid], [5, 6], 'stored as the container has it');
  t.end();
});

t.test('namespaces are joined by path', { skip }, (t) => {
  const b = bundle(t);
  const show = 'for n in net ipc uts; do readlink /proc/self/ns/$n; done';
  const { output } = b.runOnce(['sh', '-c', show], (spec) => {
    spec.hostname = '';
    spec.linux.namespaces = [
      { type: 'mount' },
      { type: 'pid' },
      { type: 'network', path: hostNamespace('net') },
      { type: 'ipc', path: hostNamespace('ipc') },
      { type: 'uts' },
    ];
  });
  const [net, ipc, uts] = output.trim().split('\n');
  t.same([net, ipc], [link('net'), link('ipc')]);
  t.notOk(uts === link('uts'));
  t.end();
});

t.test('a container may share the host’s pid namespace or join one', { skip }, (t) => {
  const b = bundle(t);
  const { result, output } = b.runOnce(
    ['sh', '-c', 'readlink /proc/self/ns/pid; test $$ -gt 1 && echo shared'],
    (spec) => {
      spec.linux.namespaces = (spec.linux.namespaces ?? []).map((ns) =>
        ns.type === 'pid' ? { ...ns, path: hostNamespace('pid') } : ns,
      );
    },
  );
  t.same(output.trim().split('\n'), [link('pid'), 'shared']);
  t.same(result.leaks, []);
  t.end();
});

t.test('a user namespace with a joined network namespace is entered in the right order', { skip }, (t) => {
  const { output, status, result } = bundle(t).runOnce(
    ['sh', '-c', 'readlink /proc/self/ns/net; id -u; echo $$'],
    (spec) => {
      spec.mounts = spec.mounts.filter(({ type }) => type !== 'sysfs');
      spec.linux.namespaces = [
        { type: 'mount' },
        { type: 'pid' },
        { type: 'uts' },
        { type: 'ipc' },
        { type: 'user' },
        { type: 'network', path: hostNamespace('net') },
      ];
      spec.linux.uidMappings = [{ containerID: 0, hostID: 100_000, size: 1000 }];
      spec.linux.gidMappings = [{ containerID: 0, hostID: 100_000, size: 1000 }];
    },
  );
  t.equal(status, 0, output + JSON.stringify(result));
  t.same(output.trim().split('\n'), [link('net'), '0', '1']);
  t.same(result.leaks, []);
  t.end();
});

t.test('a user namespace is joined by path, and owns what is new', { skip }, (t) => {
  const other = spawn('/usr/bin/busybox', ['unshare', '-U', '-r', 'sleep', '100'], { stdio: 'ignore' });
  t.teardown(() => void other.kill('SIGKILL'));
  // It runs `sleep` when its namespace has its mappings.
  const deadline = performance.now() + 5000;
  while (performance.now() < deadline && !hasMappings(other.pid ?? 0)) spawnSync('sleep', ['0.01']);
  const path = `/proc/${String(other.pid)}/ns/user`;
  const { output, status, result } = bundle(t).runOnce(
    ['sh', '-c', 'readlink /proc/self/ns/user; echo $$; mount -t tmpfs x /tmp && echo mounted; hostname'],
    (spec) => {
      spec.linux.namespaces?.push({ type: 'user', path });
      // The namespace has one group only.
      spec.mounts = spec.mounts.filter(({ type }) => type !== 'devpts');
      spec.process.capabilities = {
        bounding: ['CAP_SYS_ADMIN'],
        permitted: ['CAP_SYS_ADMIN'],
        effective: ['CAP_SYS_ADMIN'],
      };
    },
  );
  t.equal(status, 0, output + JSON.stringify(result));
  t.same(output.trim().split('\n'), [readlinkSync(path), '1', 'mounted', 'box']);
  t.same(result.leaks, []);
  t.end();
});

t.test('mounts of the container reach the host only where propagation was asked for', { skip }, (t) => {
  for (const [word, reaches] of [
    [undefined, false],
    ['rprivate', false],
    ['rshared', true],
  ] as const) {
    const b = bundle(t);
    mkdirSync(join(b.dir, 'volume/inside'), { recursive: true });
    const result = b.run({
      spec: b.spec(['sh', '-c', 'mount -t tmpfs from-inside /data/inside && sleep 100'], (spec) => {
        if (word !== undefined) spec.linux.rootfsPropagation = word;
        spec.process.capabilities = {
          bounding: ['CAP_SYS_ADMIN'],
          permitted: ['CAP_SYS_ADMIN'],
          effective: ['CAP_SYS_ADMIN'],
        };
        const options = word === undefined ? ['rbind'] : ['rbind', word];
        spec.mounts.push({ destination: '/data', type: 'bind', source: join(b.dir, 'volume'), options });
      }),
      steps: [
        { do: 'start' },
        { do: 'sleep', ms: 200 },
        { do: 'host', command: ['grep', '-c', 'from-inside', '/proc/self/mountinfo'] },
        { do: 'host', command: ['sh', '-c', `umount ${join(b.dir, 'volume/inside')} 2>/dev/null; true`] },
        { do: 'kill', signal: 9 },
        { do: 'wait' },
        { do: 'destroy' },
      ],
    });
    t.equal(result.steps[2]?.output?.trim(), reaches ? '1' : '0', `${String(word)} ${JSON.stringify(result)}`);
    t.same(result.leaks, []);
  }
  t.end();
});

function hasMappings(pid: number): boolean {
  try {
    const own = readlinkSync(`/proc/${pid}/ns/user`) !== link('user');
    return own && readFileSync(`/proc/${pid}/gid_map`, 'utf8') !== '';
  } catch {
    return false;
  }
}

function link(type: string): string {
  return readlinkSync(hostNamespace(type));
}

/** Of the test itself, which lives as long as its containers. */
function hostNamespace(type: string): string {
  return `/proc/${process.pid}/ns/${type}`;
}
