// Boots a virtual machine with pure cgroup v2 (this machine need not have it), runs compiled test files there with
// plain node, passes their TAP on and ends with their verdict.
//
// usage: node test/vm/run-vm.mjs [--timeout SECONDS] [--systemd] [--env NAME=VALUE] [TEST_FILE …]
//   TEST_FILE   compiled tests; FILE#REGEXP: of its tests those whose name matches; by default what README.md lists
//   --timeout   for the whole machine, boot included; 3600 by default: six times what it takes alone, for a machine that is
//               shared or emulated slowly
//   --systemd   systemd is the machine's first process; by default one of our own
//   --env       of the tests, any number of times
//
// exit status: 0 all passed · 1 a test failed, or the machine did not finish · 77 the machine cannot be started here
//
//   host                                            guest
//   initramfs: init, tests.json, node, build   ──►  /init mounts the file systems, starts guest.mjs
//   serial console  ◄──  TAP of every file, then the line `vm: N files, M failed`, then it powers off
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { hasSystemd, writeImage } from './image.mjs';
import { findKernel } from './kernel.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const checkout = resolve(here, '../..');
const memoryMegabytes = 2048;
const processors = 2;
const notHere = 77;

/** What guest.mjs says last. */
const summary = /^vm: (\d+) files?, (\d+) failed$/m;

function parseArguments(args) {
  const files = [];
  let timeoutSeconds = 3600;
  let systemd = false;
  const env = {};
  for (let i = 0; i < args.length; i++) {
    if (args[i] === '--timeout') timeoutSeconds = Number(args[++i]);
    else if (args[i] === '--systemd') systemd = true;
    else if (args[i] === '--env') {
      const [, name, value] = /^([^=]+)=(.*)$/s.exec(args[++i] ?? '') ?? [];
      if (name === undefined) throw new Error('--env needs NAME=VALUE');
      env[name] = value;
    } else files.push(testOf(args[i]));
  }
  if (!(timeoutSeconds > 0)) throw new Error('--timeout needs a number of seconds');
  return { files: files.length > 0 ? files : defaultTests(), timeoutSeconds, systemd, env };
}

/** `FILE` or `FILE#REGEXP`. */
function testOf(argument) {
  const [path, ...pattern] = argument.split('#');
  const file = relative(checkout, resolve(path));
  return pattern.length === 0 ? { file } : { file, grep: pattern.join('#') };
}

/** What behaves differently on a v2 host: the control groups, what test/src/vm holds, the runtime's and the shim's part. */
function defaultTests() {
  const own = 'test/dist/vm';
  const compiled = existsSync(join(checkout, own)) ? readdirSync(join(checkout, own)) : [];
  return [
    { file: 'packages/cgroups/dist/cgroup.test.js' },
    ...compiled.filter((file) => file.endsWith('.test.js')).map((file) => ({ file: `${own}/${file}` })),
    { file: 'runtime/dist/real-container.test.js', grep: 'cgroup mount|under runc' },
    {
      file: 'runtime/dist/lifecycle.test.js',
      grep: 'exec joins|pause|memory limit|pids are limited|init has left behind|dead shim',
    },
    { file: 'shim/dist/daemon-recovery.test.js', grep: 'when the shim is killed|nothing is left' },
    { file: 'shim/dist/daemon-lifecycle.test.js', grep: 'pause|memory|metrics|stats|update|nothing is left' },
  ];
}

/** Runs the machine; resolves with everything it wrote, and whether the time ran out. */
function boot(kernel, image, timeoutSeconds) {
  const command = 'console=ttyS0 quiet loglevel=3 panic=-1 reboot=t random.trust_cpu=on';
  // KVM may be there and not work (nested virtualisation); software emulation always does.
  const hardware = ['-accel', 'tcg,thread=multi', '-cpu', 'max', '-M', 'microvm,acpi=off', '-smp', String(processors)];
  const board = ['-m', String(memoryMegabytes), '-nodefaults', '-nographic', '-no-reboot', '-serial', 'stdio'];
  const system = ['-kernel', kernel.image, '-initrd', image, '-append', command];
  const machine = spawn('qemu-system-x86_64', [...hardware, ...board, ...system], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return new Promise((done, fail) => {
    let output = '';
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      machine.kill('SIGKILL');
    }, timeoutSeconds * 1000);
    machine.stdout.setEncoding('utf8');
    machine.stdout.on('data', (text) => {
      const clean = text.replaceAll('\r', '');
      output += clean;
      process.stdout.write(clean);
    });
    machine.on('error', (err) => {
      clearTimeout(timer);
      fail(err);
    });
    machine.on('close', () => {
      clearTimeout(timer);
      done({ output, timedOut });
    });
  });
}

async function main() {
  const { files, timeoutSeconds, systemd, env } = parseArguments(process.argv.slice(2));
  const absent = files.map(({ file }) => file).filter((file) => !existsSync(join(checkout, file)));
  if (absent.length > 0) throw new Error(`not there (is it built?): ${absent.join(', ')}`);
  if (spawnSync('qemu-system-x86_64', ['--version']).error !== undefined) {
    console.error('vm: qemu-system-x86_64 is missing (Debian package qemu-system-x86)');
    return notHere;
  }
  if (systemd && !hasSystemd()) {
    console.error('vm: systemd is missing (Debian package systemd)');
    return notHere;
  }
  const kernel = findKernel();
  if (kernel === undefined) return notHere;
  const scratch = mkdtempSync(join(tmpdir(), 'gantry-vm-'));
  try {
    const image = join(scratch, 'initramfs');
    const sizeBytes = writeImage(image, { checkout, here, kernel, files, systemd, env });
    console.log(`# vm: kernel ${kernel.version}, image ${Math.round(sizeBytes / 1e6)} MB, ${files.length} test files`);
    const { output, timedOut } = await boot(kernel, image, timeoutSeconds);
    const verdict = summary.exec(output);
    if (verdict === null) {
      console.error(timedOut ? `vm: no end after ${timeoutSeconds} s` : 'vm: the machine stopped before the tests did');
      return 1;
    }
    return verdict[2] === '0' ? 0 : 1;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

process.exitCode = await main();
