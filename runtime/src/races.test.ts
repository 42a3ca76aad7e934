/**
 * Attacks by races: somebody exchanges directories and files of a root file system or a volume for symlinks while
 * containers are made of them. Every container either comes to be as it was asked for or is refused; nothing outside of the
 * root is ever made, changed, mounted on or shown.
 *
 * Seconds here; GANTRY_RACE_MS=600000 makes it ten minutes.
 */
import t from 'tap';
import { spawn, spawnSync } from 'node:child_process';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { once } from 'node:events';
import type { RacePlan, RaceResult } from './testing/race.ts';
import { Bundle, whyNotReal } from './testing/scenario.ts';
import type { TestSpec } from './testing/scenario.ts';

const skip = whyNotReal() ?? false;
const timeMs = Number(process.env['GANTRY_RACE_MS'] ?? 1500);
const FEWEST = 16;
const SECRET = 'the content of a file of the host';

t.setTimeout(timeMs * 10 + 300_000);

interface Arena {
  readonly bundle: Bundle;
  /** Of the host; nothing in it may change or be seen. */
  readonly victim: string;
  readonly look: () => unknown;
}

function arena(t: { teardown(done: () => void): unknown }): Arena {
  const bundle = new Bundle();
  const victim = mkdtempSync(join(tmpdir(), 'gantry-victim-'));
  t.teardown(() => {
    bundle.remove();
    rmSync(victim, { recursive: true, force: true });
  });
  for (const name of ['sys/net/ipv4', 'pts', 'sub']) mkdirSync(join(victim, name), { recursive: true });
  for (const name of ['file', 'null', 'sys/net/ipv4/ip_forward']) writeFileSync(join(victim, name), SECRET);
  const look = (): unknown =>
    readdirSync(victim, { recursive: true, encoding: 'utf8' })
      .toSorted()
      .map((name) => {
        const { mode, uid, size, ctimeMs } = lstatSync(join(victim, name));
        return [name, mode, uid, size, ctimeMs];
      });
  return { bundle, victim, look };
}

/** Runs containers of `specs` while every pair is exchanged. */
async function race({ bundle }: Arena, specs: readonly ReturnType<Bundle['spec']>[], pairs: readonly string[]) {
  const plan: RacePlan = { id: bundle.id, specs, timeMs, fewest: FEWEST };
  writeFileSync(join(bundle.dir, 'race.json'), JSON.stringify(plan));
  const libc = fileURLToPath(import.meta.resolve('@gantry/libc'));
  const swapping = join(libc, '../test-programs/swapping.js');
  const attacker = spawn(process.execPath, [swapping, ...pairs], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    await once(attacker.stdout, 'data');
    const driver = fileURLToPath(new URL('testing/race-driver.js', import.meta.url));
    const { stderr, status } = spawnSync(process.execPath, ['--single-threaded', driver, bundle.dir], {
      encoding: 'utf8',
      timeout: timeMs + 200_000,
    });
    if (status !== 0) throw new Error(`the driver ended with ${String(status)}: ${stderr}`);
  } finally {
    attacker.kill('SIGKILL');
    await once(attacker, 'exit');
  }
  return JSON.parse(readFileSync(join(bundle.dir, 'races.json'), 'utf8')) as RaceResult;
}

/** A directory or file of the root and, beside it, a link with which it is exchanged. */
function pair(root: string, name: string, target: string, file = false): [string, string] {
  const [real, link] = [join(root, name), join(root, `${name}.link`)];
  if (file) writeFileSync(real, 'inside');
  else mkdirSync(real, { recursive: true });
  symlinkSync(target, link);
  return [real, link];
}

const upwards = '../'.repeat(20);

t.test('CVE-2021-30465, CVE-2024-45310: mount targets in a volume', { skip }, async (t) => {
  const here = arena(t);
  const { bundle, victim, look } = here;
  const before = look();
  const volume = join(bundle.dir, 'volume');
  const pairs = [
    ...pair(volume, 'absolute', victim),
    ...pair(volume, 'relative', `${upwards}${victim.slice(1)}`),
    ...pair(volume, 'open', '/proc/self/fd/3'),
  ];
  const spec = (change: (spec: TestSpec) => void) =>
    bundle.spec(['sh', '-c', 'cat /vol/*/* /vol/*/*/* 2>/dev/null; echo ran'], (draft) => {
      draft.mounts.push({ destination: '/vol', type: 'bind', source: volume, options: ['rbind'] });
      change(draft);
    });
  const tmpfs = (destination: string) =>
    spec((draft) => draft.mounts.push({ destination, type: 'tmpfs', source: 'tmpfs', options: [] }));
  const result = await race(
    here,
    [
      tmpfs('/vol/absolute'),
      tmpfs('/vol/relative/made'),
      tmpfs('/vol/open/made'),
      spec(({ mounts }) =>
        mounts.push({ destination: '/vol/relative/file', source: '/etc/hostname', options: ['bind'] }),
      ),
      spec(({ linux }) => (linux.devices = [{ path: '/vol/absolute/node', type: 'c', major: 1, minor: 3 }])),
    ],
    pairs,
  );
  t.same(look(), before, 'nothing of the host has changed');
  t.same(result.leaks, []);
  t.notOk(result.output.includes(SECRET));
  t.ok(result.made > 0, JSON.stringify(result.refused));
});

t.test('CVE-2025-31133, CVE-2026-41579: /dev of an image without a mount there', { skip }, async (t) => {
  const here = arena(t);
  const { bundle, victim, look } = here;
  const before = look();
  rmSync(join(bundle.rootfs, 'dev'), { recursive: true });
  const pairs = [...pair(bundle.rootfs, 'dev', victim)];
  mkdirSync(join(bundle.rootfs, 'inner'));
  const bare = (change: (spec: TestSpec) => void = () => undefined) =>
    bundle.spec(['sh', '-c', 'cat /dev/file /proc/keys /dev/null 2>/dev/null; echo ran'], (draft) => {
      draft.mounts = draft.mounts.filter(({ destination }) => !destination.startsWith('/dev'));
      draft.linux.maskedPaths = ['/proc/keys', '/proc/kcore', '/etc/passwd'];
      change(draft);
    });
  const result = await race(here, [bare(), bare((draft) => (draft.process.terminal = true))], pairs);
  t.same(look(), before, 'nothing of the host has changed');
  t.same(result.leaks, []);
  t.notOk(result.output.includes(SECRET));
  t.ok(result.made + Object.keys(result.refused).length > 0);
});

t.test('CVE-2019-19921, CVE-2025-52881: /proc, and what is written through it', { skip }, async (t) => {
  const here = arena(t);
  const { bundle, victim, look } = here;
  const before = look();
  rmSync(join(bundle.rootfs, 'proc'), { recursive: true });
  mkdirSync(join(bundle.rootfs, 'fake/sys/net/ipv4'), { recursive: true });
  const fake = join(bundle.rootfs, 'fake/sys/net/ipv4/ip_forward');
  writeFileSync(fake, 'fake\n');
  const pairs = [...pair(bundle.rootfs, 'proc', 'fake'), ...pair(bundle.rootfs, 'lock', victim)];
  const spec = bundle.spec(['sh', '-c', 'cat /proc/sys/net/ipv4/ip_forward; cat /lock/file 2>/dev/null'], (draft) => {
    draft.linux.sysctl = { 'net.ipv4.ip_forward': '1' };
    draft.linux.maskedPaths = [...(draft.linux.maskedPaths ?? []), '/lock/file', '/lock'];
    draft.linux.readonlyPaths = [...(draft.linux.readonlyPaths ?? []), '/lock/sub'];
  });
  const result = await race(here, [spec], pairs);
  t.same(look(), before, 'nothing of the host has changed');
  t.equal(readFileSync(fake, 'utf8'), 'fake\n', 'the setting went to the kernel, not to a file of the image');
  t.same(result.leaks, []);
  t.ok(result.made > 0, JSON.stringify(result.refused));
  // An exchange after the set-up takes the container's own /proc away from it, which harms nobody else.
  t.match(result.output, /^(?:(?:1|fake)\n)+$/);
});

t.test('CVE-2024-21626: the working directory', { skip }, async (t) => {
  const here = arena(t);
  const { bundle, victim, look } = here;
  const before = look();
  const pairs = [
    ...pair(bundle.rootfs, 'work', '/proc/self/fd/5'),
    ...pair(bundle.rootfs, 'place', `${upwards}${victim.slice(1)}`),
  ];
  const inside = (cwd: string) =>
    bundle.spec(
      ['sh', '-c', 'pwd; ls ../../../../../../bin/busybox; cat file 2>/dev/null'],
      (draft) => (draft.process.cwd = cwd),
    );
  const result = await race(here, ['/work', '/work/below', '/place', '/place/sub'].map(inside), pairs);
  t.same(look(), before);
  t.same(result.leaks, []);
  t.notOk(result.output.includes(SECRET));
  t.notMatch(result.output, /unreachable|\(deleted\)|^\.$/m);
  t.ok(result.made > 0, JSON.stringify(result.refused));
});
