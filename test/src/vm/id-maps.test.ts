/**
 * Id-mapped layers on Debian's kernel, which wants layers to be attached somewhere and short lists of them: the rooms' own tests,
 * on a file system that can map. Runs in the virtual machine, whose other file systems cannot.
 */
import t from 'tap';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { checkout } from '../index.ts';

const loop = '/modules/loop.ko';
const skip = existsSync(loop) ? false : 'an older kernel than this one; see test/vm';
const place = '/mnt/ext4';
const image = '/tmp/ext4';

const files = ['runtime/dist/rootfs/overlay.test.js', 'packages/diff/dist/id-maps.test.js'];

function sh(script: string): void {
  const { status, stderr } = spawnSync('sh', ['-ec', script], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${script}: ${stderr}`);
}

t.setTimeout(600_000);
t.test('id-mapped layers where overlays take attached layers only', { skip }, (t) => {
  mkdirSync(place, { recursive: true });
  sh(`insmod ${loop} || true; truncate -s 64M ${image}; mke2fs -F ${image}; mount -t ext4 -o loop ${image} ${place}`);
  t.teardown(() => sh(`umount ${place}; rm ${image}`));
  for (const file of files) {
    const env = { ...process.env, TMPDIR: place };
    const { status, stdout, stderr } = spawnSync(process.execPath, [path.join(checkout, file)], {
      encoding: 'utf8',
      env,
    });
    t.equal(status, 0, `${file}: ${stderr}${status === 0 ? '' : stdout}`);
    const skipped = stdout.split('\n').filter((line) => line.includes('# SKIP'));
    t.same(skipped, [], `nothing of ${file} is left out`);
  }
  t.end();
});
