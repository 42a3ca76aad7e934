// What the machine finds in its memory: busybox, this machine's node, the build, and the packages that it and its tests load.
import { spawnSync } from 'node:child_process';
import { existsSync, lstatSync, readFileSync, readdirSync, readlinkSync, realpathSync } from 'node:fs';
import { basename, join } from 'node:path';
import { CpioWriter } from './cpio.mjs';

/** Where the checkout is in the guest. */
const guestCheckout = '/gantry';

/** Packages that tests name but only its command line, the compiler and the reporters load. */
const notLoaded = new Set(['typescript', 'tshy', '@tapjs/run', '@tapjs/reporter', '@tapjs/create-plugin', 'react-dom']);

/** Of a package, what no program loads. */
const unneeded = /(\.d\.[cm]?ts|\.map|\.md|\.[cm]?ts)$/;

/** Programs of other projects that tests compare with or drive, where this machine has them. */
const peerPrograms = ['/usr/sbin/runc', '/usr/bin/crun', '/usr/bin/ctr'];

/** Checkpoints: criu, and what it calls for a container's network and its tmpfs, in a place before busybox's. */
const criuPrograms = ['/usr/sbin/criu', '/usr/sbin/ip', '/usr/sbin/xtables-nft-multi', '/usr/bin/tar', '/usr/bin/gzip'];
/** As what else the packet filter's program is called. */
const packetFilterNames = ['iptables-save', 'iptables-restore', 'ip6tables-save', 'ip6tables-restore'];
/** What it loads to read criu's rules. */
const packetFilterExtensions = ['libxt_mark.so', 'libxt_standard.so'].map(
  (name) => `/usr/lib/x86_64-linux-gnu/xtables/${name}`,
);

/** Kernel modules that criu asks for; a test that needs them loads them, in this order. */
const criuModules = [
  'veth',
  'tun',
  'unix_diag',
  'tcp_diag',
  'udp_diag',
  'af_packet_diag',
  'netlink_diag',
  'xt_mark',
  'nft_compat',
];

/** Libraries that are opened by name while the product runs. */
const openedByName = ['libseccomp.so.2'];

/** systemd as the first process, and what asks it. */
const systemdPrograms = ['/usr/lib/systemd/systemd', '/usr/bin/systemctl'];

/** The only unit besides those that systemd makes itself. */
const testService = `[Unit]
DefaultDependencies=no
[Service]
ExecStart=/usr/bin/node /vm/guest.mjs
ExecStopPost=/bin/busybox reboot -f
WorkingDirectory=/gantry
Environment=PATH=/usr/sbin:/usr/bin:/bin HOME=/root
StandardOutput=file:/dev/console
StandardError=file:/dev/console
Delegate=yes
TasksMax=infinity
LimitNOFILE=20000
`;

/** Whether this machine has what `systemd` needs. */
export const hasSystemd = () => systemdPrograms.every((program) => existsSync(program));

/**
 * Writes the archive and returns its size. `files` are tests relative to the checkout, with a pattern for their names;
 * `systemd`: it is the first process and starts them.
 */
export function writeImage(path, { checkout, here, kernel, files, systemd = false, env = {} }) {
  const archive = new CpioWriter(path);
  for (const directory of [
    'proc',
    'sys',
    'dev',
    'tmp',
    'run',
    'root',
    'mnt',
    'etc',
    'var/lib',
    'usr/bin',
    'usr/sbin',
  ]) {
    archive.directory(directory);
  }
  addPrograms(archive);
  const workspaces = workspaceDirectories(checkout);
  const nativeFiles = [];
  for (const directory of workspaces) {
    addTree(archive, join(checkout, directory), join(guestCheckout, directory), nativeFiles, [
      'package.json',
      'dist',
      'bin',
    ]);
  }
  for (const name of packageClosure(checkout, workspaces)) {
    addPackage(archive, checkout, name, nativeFiles);
  }
  const present = [...peerPrograms, ...(systemd ? systemdPrograms : [])].filter((program) => existsSync(program));
  for (const program of present) archive.copy(program, realpathSync(program), 0o755);
  if (systemd) addUnits(archive);
  const forCriu = criuPrograms.every((program) => existsSync(program)) ? criuPrograms : [];
  for (const program of forCriu) archive.copy(join('usr/sbin', basename(program)), program, 0o755);
  addLibraries(archive, [process.execPath, ...present, ...forCriu, ...nativeFiles]);
  addModule(archive, kernel.modules, 'overlay');
  addModule(archive, kernel.modules, 'loop');
  if (forCriu.length > 0) addCriuNeeds(archive, kernel.modules);
  archive.copy('init', join(here, 'init'), 0o755);
  archive.copy('vm/guest.mjs', join(here, 'guest.mjs'));
  archive.file(
    'vm/tests.json',
    JSON.stringify({ env, files: files.map(({ file, grep }) => ({ file: join(guestCheckout, file), grep })) }),
  );
  archive.file('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n');
  archive.file('etc/group', 'root:x:0:\n');
  return archive.close();
}

function addUnits(archive) {
  archive.file('etc/systemd/system/gantry-test.service', testService);
  archive.file(
    'etc/systemd/system/default.target',
    '[Unit]\nDefaultDependencies=no\nWants=gantry-test.service\nAfter=gantry-test.service\n',
  );
  archive.file('etc/machine-id', '0123456789abcdef0123456789abcdef\n');
}

function addPrograms(archive) {
  const found = ['/bin/busybox', '/usr/bin/busybox'].find((path) => existsSync(path));
  if (found === undefined) throw new Error('busybox is missing (Debian package busybox-static)');
  archive.copy('bin/busybox', realpathSync(found), 0o755);
  archive.link('bin/sh', 'busybox');
  archive.copy('usr/bin/node', process.execPath, 0o755);
}

/** The checkout's packages in their order. */
function workspaceDirectories(checkout) {
  return readJson(join(checkout, 'package.json')).workspaces.filter((directory) =>
    existsSync(join(checkout, directory, 'dist')),
  );
}

/** Names of everything that the workspaces and the test framework depend on, themselves included. */
function packageClosure(checkout, workspaces) {
  const wanted = ['tap'];
  for (const directory of workspaces) wanted.push(...dependencies(join(checkout, directory)));
  const closure = new Set();
  for (let name = wanted.pop(); name !== undefined; name = wanted.pop()) {
    const directory = join(checkout, 'node_modules', name);
    // Optional dependencies of another platform are not there.
    if (closure.has(name) || notLoaded.has(name) || !existsSync(directory)) continue;
    closure.add(name);
    wanted.push(...dependencies(directory));
    for (const nested of nestedPackages(directory)) wanted.push(...dependencies(nested));
  }
  return closure;
}

function dependencies(directory) {
  const {
    dependencies: needed = {},
    optionalDependencies: optional = {},
    peerDependencies: peers = {},
  } = readJson(join(directory, 'package.json'));
  return [...Object.keys(needed), ...Object.keys(optional), ...Object.keys(peers)];
}

/** Packages that a package brings in a version of its own. */
function nestedPackages(directory) {
  const nested = join(directory, 'node_modules');
  if (!existsSync(nested)) return [];
  return readdirSync(nested)
    .filter((name) => !name.startsWith('.'))
    .flatMap((name) => (name.startsWith('@') ? readdirSync(join(nested, name)).map((sub) => join(name, sub)) : [name]))
    .map((name) => join(nested, name));
}

function addPackage(archive, checkout, name, nativeFiles) {
  const source = join(checkout, 'node_modules', name);
  const target = join(guestCheckout, 'node_modules', name);
  // Workspaces are links into the checkout.
  if (lstatSync(source).isSymbolicLink()) archive.link(target, readlinkSync(source));
  else addTree(archive, source, target, nativeFiles);
}

/** Everything below `source`, or of its top the entries in `only`. Links are kept. Native modules are noted. */
function addTree(archive, source, target, nativeFiles, only) {
  for (const entry of readdirSync(source, { withFileTypes: true })) {
    if (only !== undefined && !only.includes(entry.name)) continue;
    const from = join(source, entry.name);
    const to = join(target, entry.name);
    if (entry.isDirectory()) addTree(archive, from, to, nativeFiles);
    else if (entry.isSymbolicLink()) archive.link(to, readlinkSync(from));
    else if (entry.isFile() && !unneeded.test(entry.name)) {
      archive.copy(to, from, lstatSync(from).mode & 0o777);
      if (entry.name.endsWith('.node')) nativeFiles.push(from);
    }
  }
}

/** The shared libraries of these programs, under the paths at which this machine finds them. */
function addLibraries(archive, programs) {
  const libraries = new Set();
  for (const program of programs) {
    const { stdout } = spawnSync('ldd', [program], { encoding: 'utf8' });
    for (const [path] of stdout.matchAll(/\/\S+\.so[^\s)]*/g)) libraries.add(path);
  }
  const { stdout: cached } = spawnSync('/sbin/ldconfig', ['-p'], { encoding: 'utf8' });
  for (const name of openedByName) {
    const line = (cached ?? '').split('\n').find((entry) => entry.trim().startsWith(`${name} `));
    const path = line?.split(' => ')[1];
    if (path !== undefined) libraries.add(path);
  }
  for (const path of libraries) if (existsSync(path)) archive.copy(path, realpathSync(path), 0o755);
}

/** A kernel module that needs no other. */
function addModule(archive, modules, name) {
  const files = readdirSync(modules, { recursive: true }).filter((file) => file.endsWith(`/${name}.ko`));
  for (const file of files) archive.copy(`modules/${name}.ko`, join(modules, file));
}

/** The other names of the packet filter's program, and the modules with those that they need, in the order of loading. */
function addCriuNeeds(archive, modules) {
  for (const name of packetFilterNames) archive.link(`usr/sbin/${name}`, 'xtables-nft-multi');
  for (const path of packetFilterExtensions) if (existsSync(path)) archive.copy(path, path);
  const files = new Map(
    readdirSync(modules, { recursive: true })
      .filter((file) => file.endsWith('.ko'))
      .map((file) => [basename(file, '.ko').replaceAll('-', '_'), join(modules, file)]),
  );
  const order = [];
  const add = (name) => {
    const file = files.get(name);
    if (file === undefined || order.includes(name)) return;
    const [, needed = ''] = /\0depends=([^\0]*)\0/.exec(readFileSync(file, 'latin1')) ?? [];
    for (const other of needed.split(',')) add(other.replaceAll('-', '_'));
    order.push(name);
    archive.copy(`modules/criu/${name}.ko`, file);
  };
  for (const name of criuModules) add(name);
  archive.file('modules/criu/order', `${order.join('\n')}\n`);
}

function readJson(path) {
  return JSON.parse(readFileSync(path, 'utf8'));
}
