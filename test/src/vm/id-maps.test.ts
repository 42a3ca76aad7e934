/**
 * Id-mapped layers on Debian's kernel, which wants layers to be attached somewhere and short lists of them: the rooms' own tests,
 * on a file system that can map. Runs in the virtual machine, whose other file systems cannot.
 */
import t from 'tap';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { busyboxLayer, checkout, gantry, gantryd, imageName, ociArchive, tar } from '../index.ts';
import type { CommandResult } from '../index.ts';

const loop = '/modules/loop.ko';
const skip = existsSync(loop) ? false : 'an older kernel than this one; see test/vm';
const place = '/mnt/ext4';
const image = '/tmp/ext4';

const files = ['runtime/dist/rootfs/overlay.test.js', 'packages/diff/dist/id-maps.test.js'];

function sh(script: string): void {
  const { status, stderr } = spawnSync('sh', ['-ec', script], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${script}: ${stderr}`);
}

/** A machine in software emulation needs seconds where a real one needs milliseconds. */
const slowMs = 120_000;
const map = '0:100000:65536';

t.setTimeout(slowMs * 6);
t.test('id-mapped layers where overlays take attached layers only', { skip }, async (t) => {
  mkdirSync(place, { recursive: true });
  sh(`insmod ${loop} || true; truncate -s 512M ${image}; mke2fs -F ${image}; mount -t ext4 -o loop ${image} ${place}`);
  t.teardown(() => sh(`umount ${place}; rm ${image}`));
  for (const file of files) {
    const env = { ...process.env, TMPDIR: place };
    const words = [path.join(checkout, file)];
    const { status, stdout, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8', env });
    t.equal(status, 0, `${file}: ${stderr}${status === 0 ? '' : stdout}`);
    const skipped = stdout.split('\n').filter((line) => line.includes('# SKIP'));
    t.same(skipped, [], `nothing of ${file} is left out`);
  }

  const daemon = gantryd(path.join(place, 'g'));
  await daemon.start();
  const call = async (...words: string[]): Promise<CommandResult> =>
    gantry(daemon, 'default', words, { timeoutMs: slowMs });
  const archive = path.join(place, 'box.tar');
  const layers = Array.from({ length: 20 }, (_, n) => tar([{ name: `made-${n}`, uid: n, body: '' }]));
  writeFileSync(archive, ociArchive({ layers: [busyboxLayer(), ...layers] }));
  t.match(await call('load', '-i', archive), { code: 0 });
  const look = ['sh', '-c', 'echo x > /new; stat -c %u /bin/busybox /made-0 /made-19 /new; head -1 /proc/self/uid_map'];
  const seen = /^0\n0\n19\n0\n *0 +(\d+) /;
  t.match(await call('run', '--rm', imageName, ...look), { code: 0, stdout: seen }, 'twenty layers, no maps');
  const mapped = await call('run', '--name', 'one', '--uidmap', map, imageName, ...look);
  t.equal(mapped.code, 0, mapped.stderr);
  t.equal(seen.exec(mapped.stdout)?.[1], '100000', mapped.stdout);
  t.match(await call('commit', 'one', 'made:1'), { code: 0 });
  const again = await call('run', '--rm', 'made:1', 'stat', '-c', '%u', '/new', '/made-19');
  t.equal(again.stdout, '0\n19\n', again.stderr);
  await call('rm', '-f', 'one');
  await daemon.stop();
});
