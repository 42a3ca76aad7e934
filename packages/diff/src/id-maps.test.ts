import t from 'tap';
import type { Test } from 'tap';
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdtempSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { readTar } from '@gantry/archive';
import { AT_FDCWD, linux, O_RDONLY, openMappedTree, spawnMappingNamespace } from '@gantry/libc';
import { parseIdMap } from '@gantry/oci';
import { Differ } from './differ.ts';
import type { DiffMount } from './differ-types.ts';
import { Bench, bind, directory, file, hardlink, layerType, overlay, tarOf } from './testing/layers.ts';

const differ = new Differ({ idleMs: 1000 });
t.teardown(async () => differ.close());

const skip = await unusable();
const maps = ['uidmap=0:100000:65536', 'gidmap=0:200000:1000'];
const sh = (cwd: string, script: string): string => execFileSync('sh', ['-ec', script], { cwd }).toString();

/** Why this host cannot map ids; false when it can. */
async function unusable(): Promise<string | false> {
  if (process.getuid?.() !== 0) return 'needs root';
  const dir = mkdtempSync(path.join(tmpdir(), 'gantry-ids-'));
  try {
    const ids = [{ inside: 0, outside: 5, length: 1 }];
    const namespace = await spawnMappingNamespace(linux, ids, ids);
    linux.close(openMappedTree(linux, dir, namespace));
    linux.close(namespace);
    return false;
  } catch (err) {
    return `no id-mapped mounts here: ${String(err)}`;
  } finally {
    rmSync(dir, { recursive: true });
  }
}

function mapped(mount: DiffMount): DiffMount {
  return { ...mount, options: [...maps, ...mount.options] };
}

async function namesIn(t: Test, left: DiffMount, right: DiffMount): Promise<string[]> {
  const chunks: Uint8Array[] = [];
  await differ.compare({ left: [left], right: [right], mediaType: layerType }, async (chunk) => {
    chunks.push(chunk);
    return Promise.resolve();
  });
  const found: string[] = [];
  for await (const { header } of readTar([Buffer.concat(chunks)])) {
    found.push(`${Buffer.from(header.name).toString()} ${header.uid}:${header.gid}`);
  }
  t.comment(found.join(', '));
  return found;
}

t.test('a layer applied to an upper directory with mapped ids is stored with the host’s', { skip }, async (t) => {
  const bench = new Bench(t);
  const [upper, work, lower] = [bench.sub('upper'), bench.sub('work'), bench.sub('lower')];
  sh(lower, 'mkdir -p odd/way; chown 7:8 odd odd/way; echo 1 > gone');
  sh(upper, 'chown 100000:200000 .');
  const tar = tarOf([
    file('a', 'x', { uid: 5, gid: 6, mode: 0o4755 }),
    { ...hardlink('b', 'a'), uid: 5, gid: 6, mode: 0o4755 },
    directory('d'),
    file('odd/way/f', 'y'),
    file('.wh.gone'),
  ]);
  await differ.apply(bench.request(tar, { mounts: [mapped(overlay(upper, work, [lower]))] }));
  t.equal(
    sh(upper, 'stat -c "%n %u:%g %a" a b d odd/way odd/way/f; stat -c "%F" gone'),
    'a 100005:200006 4755\nb 100005:200006 4755\nd 100000:200000 755\nodd/way 100007:200008 755\nodd/way/f 100000:200000 644\n' +
      'character special file\n',
  );
  const outside = tarOf([file('far', 'x', { uid: 70000 })]);
  const refused = differ.apply(bench.request(outside, { mounts: [mapped(overlay(upper, work, [lower]))] }));
  await t.rejects(refused, { code: 'invalid argument', message: /owner 70000:0 is not in the id map/ });
});

t.test('a tree with mapped ids and no layers below holds a layer’s own', { skip }, async (t) => {
  const bench = new Bench(t);
  await differ.apply(bench.request(tarOf([file('a', 'x')]), { mounts: [mapped(bind(bench.root))] }));
  t.equal(sh(bench.root, 'stat -c %u:%g a'), '0:0\n');
});

t.test('what is compared has the container’s ids, and only what it changed is different', { skip }, async (t) => {
  const bench = new Bench(t);
  const [upper, work, lower] = [bench.sub('upper'), bench.sub('work'), bench.sub('lower')];
  sh(lower, 'mkdir d; echo 1 > d/a; echo 1 > b; chown 5:6 b; echo 1 > c');
  // `changed` was in the layer with the same owner.
  sh(
    upper,
    'echo 2 > b; chown 100005:200006 b; echo 3 > new; chown 100000:200999 new; mknod c c 0 0; chown 100000:200000 .',
  );
  const right = mapped(overlay(upper, work, [lower]));
  t.same(await namesIn(t, bind(lower, 'ro'), right), ['b 5:6', '.wh.c 0:0', 'new 0:999']);
  t.same(
    await namesIn(t, mapped(bind(lower, 'ro')), right),
    ['b 5:6', '.wh.c 0:0', 'new 0:999'],
    'a view that is mapped too',
  );
});

t.test('many layers with long paths fit beside a mapped one', { skip }, async (t) => {
  const bench = new Bench(t);
  const lowers = Array.from({ length: 60 }, (_, n) => bench.sub(`${'long'.repeat(20)}/${n}/fs`));
  sh(lowers[0] ?? '', 'echo 1 > top');
  sh(lowers[59] ?? '', 'echo 1 > bottom; echo 1 > both');
  const [upper, work] = [bench.sub('upper'), bench.sub('work')];
  sh(upper, 'echo 2 > both; chown 100000:200000 both');
  const left: DiffMount = { type: 'overlay', source: 'overlay', options: [`lowerdir=${lowers.join(':')}`] };
  t.same(await namesIn(t, left, mapped(overlay(upper, work, lowers))), ['both 0:0']);
});

t.test('what a container wrote becomes a layer with its own ids, whiteouts and all', { skip }, async (t) => {
  const bench = new Bench(t);
  const from = bench.sub('upper');
  sh(
    from,
    `echo 2 > new; ln new new2; chown 100007:200009 new; chmod 4755 new; mkdir d; mkfifo d/p
     chmod 1777 d; chown 100000:200000 . d; mknod gone c 0 0; echo 4 > foreign; ln -s nowhere soft; chown -h 100001:200001 soft
     truncate -s 3G sparse; echo x >> sparse; chown 100001:200001 sparse; : > empty`,
  );
  utimesSync(path.join(from, 'new'), 1_000_000_000.5, 1_000_000_000.5);
  utimesSync(path.join(from, 'd'), 1_000_000_000, 1_000_000_000);
  const fd = linux.openat(AT_FDCWD, path.join(from, 'd'), O_RDONLY);
  linux.fsetxattr(fd, 'trusted.overlay.opaque', Buffer.from('y'), 0);
  linux.close(fd);
  const to = path.join(bench.dir, 'layer');
  const maps = { uidMappings: parseIdMap('0:100000:65536', 'x'), gidMappings: parseIdMap('0:200000:1000', 'x') };
  await differ.copy({ from, to, maps });
  t.equal(
    sh(
      to,
      'stat -c "%n %F %u:%g %a" . d d/p foreign gone new new2 soft; stat -c "%h %s" new; stat -c %Y d; readlink soft',
    ),
    '. directory 0:0 755\nd directory 0:0 1777\nd/p fifo 65534:65534 644\nforeign regular file 65534:65534 644\n' +
      'gone character special file 65534:65534 644\nnew regular file 7:9 4755\nnew2 regular file 7:9 4755\n' +
      'soft symbolic link 1:1 777\n2 2\n1000000000\nnowhere\n',
  );
  const timeOf = (dir: string): bigint => lstatSync(path.join(dir, 'new'), { bigint: true }).mtimeNs;
  t.equal(timeOf(to), timeOf(from), 'as finely as the file system has it');
  t.match(sh(to, 'stat -c "%s %b" sparse'), /^3221225474 \d{1,3}\n$/, 'holes stay holes');
  const copied = linux.openat(AT_FDCWD, path.join(to, 'd'), O_RDONLY);
  t.equal(linux.fgetxattr(copied, 'trusted.overlay.opaque')?.toString(), 'y');
  linux.close(copied);
  const full = await differ.copy({ from, to: '/dev/full/layer', maps }).catch((err: unknown) => err);
  t.match(full, { message: /copying .*ENOTDIR/ });
  await t.rejects(differ.copy({ from, to, maps }), { message: /EEXIST/ }, 'nothing is mixed with what is there');
});

t.test('maps that cannot be are refused', { skip: process.getuid?.() === 0 ? false : 'needs root' }, async (t) => {
  const bench = new Bench(t);
  const mount = { ...bind(bench.root), options: ['uidmap=0:5', 'gidmap=0:5:1', 'rw', 'rbind'] };
  await t.rejects(differ.apply(bench.request(tarOf([file('a')]), { mounts: [mount] })), {
    code: 'invalid argument',
    message: /mount option uidmap/,
  });
});
