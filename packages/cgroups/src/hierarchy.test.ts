import t from 'tap';
import { linux } from '@gantry/libc';
import { hierarchyFrom } from './hierarchy.ts';
import { cgroupFromPaths, openCgroup } from './open.ts';
import { parseCgroupFile } from './own-paths.ts';

const hybrid = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset,clone_children
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/lib/agent,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
42 31 0:31 / /mnt/odd\\040name rw - cgroup cgroup rw,pids
`;

t.test('a hybrid host has v1 controllers and a v2 tree', (t) => {
  const found = hierarchyFrom(hybrid, '/sys/fs/cgroup', linux);
  t.equal(found.mode, 'hybrid');
  t.strictSame([...found.controllers.keys()], ['cpu', 'cpuacct', 'cpuset', 'name=systemd']);
  t.equal(found.controllers.get('cpuacct')?.directory, '/sys/fs/cgroup/cpu,cpuacct');
  t.equal(found.unified?.directory, '/sys/fs/cgroup/unified');
  t.end();
});

t.test('a legacy host has no v2 tree and a unified one nothing else', (t) => {
  const legacy = hierarchyFrom(hybrid.replace(/^41.*\n/m, ''), '/sys/fs/cgroup', linux);
  t.equal(legacy.mode, 'legacy');
  t.equal(legacy.unified, undefined);
  const line = '29 23 0:26 /machine /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw';
  const unified = hierarchyFrom(line, '/sys/fs/cgroup', linux);
  t.equal(unified.mode, 'unified');
  t.strictSame(unified.unified, { directory: '/sys/fs/cgroup', root: '/machine' });
  t.equal(unified.controllers.size, 0);
  t.end();
});

t.test('escaped mount points are decoded', (t) => {
  const found = hierarchyFrom(hybrid, '/mnt', linux);
  t.equal(found.controllers.get('pids')?.directory, '/mnt/odd name');
  t.end();
});

t.test('a host without control groups is a failed precondition', (t) => {
  t.throws(() => hierarchyFrom('1 2 0:3 / / rw - ext4 /dev/sda rw\n\ngarbage - cgroup', '/sys/fs/cgroup', linux), {
    code: 'failed precondition',
  });
  t.end();
});

t.test('a path of /proc/PID/cgroup may contain colons', (t) => {
  const paths = parseCgroupFile('9:name=systemd:/\n4:cpu,cpuacct:/system.slice:a:b\n0::/x\nnonsense\n');
  t.strictSame(Object.fromEntries(paths), {
    'name=systemd': '/',
    cpu: '/system.slice:a:b',
    cpuacct: '/system.slice:a:b',
    '': '/x',
  });
  t.end();
});

t.test('a group can be opened again from its paths and only below the hierarchies', (t) => {
  const hierarchy = hierarchyFrom(hybrid, '/sys/fs/cgroup', linux);
  const paths = openCgroup(hierarchy, '/ns/id').paths();
  t.equal(paths['cpu'], '/sys/fs/cgroup/cpu,cpuacct/ns/id');
  t.equal(paths[''], '/sys/fs/cgroup/unified/ns/id');
  const again = cgroupFromPaths(hierarchy, paths);
  t.strictSame(again.paths(), paths);
  t.equal(again.path, '/ns/id');
  const hostile = [
    { ...paths, cpu: '/sys/fs/cgroup/cpu,cpuacct/../../../etc' },
    { ...paths, cpu: '/sys/fs/cgroup/cpu,cpuacct' },
    { ...paths, cpu: '/sys/fs/cgroup/cpu,cpuacctx/a' },
    { cpu: '/sys/fs/cgroup/cpu,cpuacct/a' },
  ];
  for (const wrong of hostile) t.throws(() => cgroupFromPaths(hierarchy, wrong), { code: 'invalid argument' });
  t.end();
});
