/**
 * Layers as every tar writes them, and as nobody should: what Debian's containerd makes of them gantryd makes of them too, the
 * same tree or the same refusal. GANTRY_CORPUS_FILES (2000) says how many small files the largest one has.
 */
import t from 'tap';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { busyboxLayer, missing, ociArchive, Pair, run, tar } from '../index.ts';
import type { CommandResult, Side, TarEntry } from '../index.ts';

const skip = missing('ctr', 'containerd', 'tar', 'find') ?? false;
const manyFiles = Number(process.env['GANTRY_CORPUS_FILES'] ?? 2_000);
const imageName = 'docker.io/library/corpus:latest';

/** Files for tars: names, links, kinds, owners, times, holes. */
const everything = `
  mkdir -p d/e "with space" && chmod 1777 d && chmod 750 d/e
  echo plain > plain; echo x > d/exec; chmod 6755 d/exec; : > empty
  ln plain d/hard; ln -s ../plain d/soft; ln -s /nowhere dangling
  mknod d/null c 1 3; mknod d/block b 7 200; mkfifo d/fifo
  printf nl > "$(printf 'new\\nline')"; printf raw > "$(printf 'raw-\\377\\376-name')"; printf tab > "$(printf 'tab\\there')"
  long=$(printf 'long-%.0s' $(seq 30)); echo long > "$long"; mkdir -p "deep/$long/$long"; echo deep > "deep/$long/$long/file"
  ln -s "$long$long" "link-to-long"
  chown 1234:5678 plain; chown -h 77:88 d/soft; touch -d @1500000000.123456789 plain; touch -d @1 empty; touch -d @-5 d/exec
  touch -h -d @1400000000 d/soft; touch -d @1300000000.5 d/e`;

/** What ustar cannot hold is left out. */
const ustar = `
  mkdir -p d/e; echo plain > plain; chmod 4711 plain; ln plain d/hard; ln -s ../plain d/soft
  mknod d/null c 1 3; mkfifo d/fifo; chown 1234:5678 plain; touch -d @1500000000 plain d/e
  long=$(printf 'long-%.0s' $(seq 16)); mkdir -p "$long"; echo split > "$long/$long"`;

const sparse = `
  truncate -s 40M holes; printf middle | dd of=holes bs=1M seek=20 conv=notrunc 2>/dev/null
  truncate -s 3M end; printf start | dd of=end conv=notrunc 2>/dev/null; truncate -s 1M nothing
  for at in $(seq 0 30); do printf piece | dd of=many bs=64k seek=$((at * 2)) conv=notrunc 2>/dev/null; done
  touch -d @1500000000 *`;

interface Packed {
  readonly layer: Buffer;
  /** What was packed. */
  readonly tree: string;
}

function packed(dir: string, script: string, ...options: string[]): Packed {
  const tree = mkdtempSync(path.join(dir, 'tree-'));
  execFileSync('bash', ['-euc', script], { cwd: tree, stdio: ['ignore', 'ignore', 'inherit'] });
  const file = `${tree}.tar`;
  execFileSync('tar', ['--numeric-owner', '--sort=name', ...options, '-C', tree, '-cf', file, '.']);
  return { layer: readFileSync(file), tree };
}

const lower = tar([
  { name: 'dir/', type: 'directory' },
  { name: 'dir/a', body: 'a' },
  { name: 'dir/sub/', type: 'directory' },
  { name: 'dir/sub/b', body: 'b' },
  { name: 'file', body: 'file' },
  { name: 'linked', type: 'hardlink', body: 'file' },
  { name: 'soft', type: 'symlink', body: 'dir' },
]);

/** Each is what a second layer does to `lower`. */
const seconds: Readonly<Record<string, readonly TarEntry[]>> = {
  'whiteout of a directory': [{ name: '.wh.dir' }],
  'whiteout of a directory, then files in it': [
    { name: '.wh.dir' },
    { name: 'dir/', type: 'directory', mode: 0o700 },
    { name: 'dir/new', body: 'new' },
  ],
  'files in a directory, then its whiteout': [
    { name: 'dir/', type: 'directory' },
    { name: 'dir/new', body: 'new' },
    { name: '.wh.dir' },
  ],
  'whiteout of a subdirectory and of a link': [{ name: 'dir/.wh.sub' }, { name: '.wh.soft' }],
  'hard link to a file of this layer that is whited out': [
    { name: 'own', body: 'own' },
    { name: 'second', type: 'hardlink', body: 'own' },
    { name: '.wh.own' },
  ],
  'hard link to a whited-out file': [{ name: '.wh.file' }, { name: 'second', type: 'hardlink', body: 'file' }],
  'whiteout of one of two hard links': [{ name: '.wh.file' }],
  'hard link to a file of the layer below': [{ name: 'second', type: 'hardlink', body: 'file' }],
  'hard link over a directory': [
    { name: 'own', body: 'own' },
    { name: 'dir', type: 'hardlink', body: 'own' },
  ],
  'a directory over a file, a file over a directory': [
    { name: 'file/', type: 'directory' },
    { name: 'file/in', body: 'in' },
    { name: 'dir', body: 'a file now' },
  ],
  'opaque directory': [{ name: 'dir/.wh..wh..opq' }, { name: 'dir/new', body: 'new' }],
  'opaque root': [{ name: '.wh..wh..opq' }, { name: 'only', body: 'only' }],
  'a file through a link': [{ name: 'soft/through', body: 'through' }],
  'the same name again and again': [
    { name: 'file', body: 'one' },
    { name: 'file', type: 'symlink', body: 'dir' },
    { name: 'file', type: 'fifo' },
    { name: 'file', body: 'last', mode: 0o600, uid: 9 },
  ],
  'whiteout without a name': [{ name: '.wh.' }],
  'whiteout of a dot': [{ name: 'dir/.wh..' }],
  'whiteout of the parent': [{ name: 'dir/.wh...' }],
  'names that climb': [
    { name: '../../up', body: 'up' },
    { name: '/absolute', body: 'absolute' },
    { name: 'dir/../x', body: 'x' },
  ],
  'a hard link that climbs': [{ name: 'second', type: 'hardlink', body: '../../../etc/hostname' }],
  'a hard link to nothing': [{ name: 'second', type: 'hardlink', body: 'nothing' }],
};

/** containerd's two snapshotters disagree about these; its native one keeps to the specification. */
const judgedByNative: ReadonlySet<string> = new Set(['whiteout of a directory, then files in it', 'opaque root']);

/**
 * Whiteouts concern the layers below, wherever in the layer they stand (OCI image specification, layer.md). containerd refuses
 * the first and takes the file of the second, so the specification judges: what is there, and what is not.
 */
const judgedBySpecification: Readonly<Record<string, { readonly there: string[]; readonly gone: string[] }>> = {
  'files in a directory, then its whiteout': { there: ['dir/new', 'file'], gone: ['dir/a', 'dir/sub'] },
  'hard link to a file of this layer that is whited out': { there: ['own', 'second', 'file'], gone: [] },
};

/** Everything GNU find knows of a tree, a line an entry; directories that layers only imply have no time of their own. */
async function listing(root: string): Promise<string[]> {
  const script = `cd "$1"
    find . -type d -printf '%P|%y %m %U:%G\\0' -o -type l -printf '%P|%y %U:%G %T@ %l\\0' -o -printf '%P|%y %m %U:%G %n %s %T@\\0'
    find . \\( -name d -o -name e \\) -type d -printf '%P|time %T@\\0'
    find . \\( -type c -o -type b \\) -exec stat --printf '%n|device %t:%T\\0' {} +
    find . -type f -size -64 -links 1 -print0 | xargs -0 -r sha256sum -z
    find . -type f \\( -size +63 -o -links +1 \\) -print0 | xargs -0 -r sha256sum -z`;
  const { code, stdout, stderr } = await run('sh', ['-euc', script, 'sh', root], {
    env: { LC_ALL: 'C' },
    timeoutMs: 120_000,
  });
  if (code !== 0) throw new Error(`listing ${root}: ${stderr}`);
  return stdout.split('\0').toSorted();
}

const timeoutMs = 120_000 + manyFiles * 4;
t.setTimeout(timeoutMs);
t.test('every layer becomes what containerd makes of it', { skip, timeout: timeoutMs }, async (t) => {
  const pair = new Pair();
  await pair.start();
  const archive = path.join(pair.dir, 'corpus.tar');
  let layers: readonly Buffer[] = [];
  const looked = async (side: Side, snapshotter = 'overlayfs'): Promise<string[]> =>
    pair.withTree(side, snapshotter, layers, listing);
  const compare = (what: string, found: readonly string[], expected: readonly string[]): void => {
    const [old, fresh] = [new Set(expected), new Set(found)];
    const less = expected.filter((line) => !fresh.has(line));
    t.same({ less, more: found.filter((line) => !old.has(line)) }, { less: [], more: [] }, what);
  };
  const imported = async (side: Side, snapshotter = 'overlayfs'): Promise<CommandResult> =>
    pair.ctr(side, ['images', 'import', '--snapshotter', snapshotter, archive], { timeoutMs });
  const judged = async (what: string, given: readonly Buffer[], least: number): Promise<void> => {
    layers = given;
    writeFileSync(archive, ociArchive({ layers, name: imageName, gzip: false }));
    const specified = judgedBySpecification[what];
    if (specified !== undefined) {
      const { code, stderr } = await imported(pair.ours);
      t.equal(code, 0, stderr);
      const names = (await looked(pair.ours)).map((line) => line.split('|')[0] ?? '');
      t.same(
        specified.there.filter((name) => !names.includes(name)),
        [],
        what,
      );
      t.same(
        specified.gone.filter((name) => names.includes(name)),
        [],
        what,
      );
      await pair.both(['images', 'rm', '--sync', imageName]);
      return;
    }
    const judge = judgedByNative.has(what) ? 'native' : 'overlayfs';
    const stock = await imported(pair.stock, judge);
    const ours = await imported(pair.ours);
    t.equal(ours.code, stock.code, `${what}: ${stock.stderr} ${ours.stderr}`);
    if (stock.code === 0 && ours.code === 0) {
      const expected = await looked(pair.stock, judge);
      t.ok(expected.length >= least, `${what}: there is something to compare`);
      compare(what, await looked(pair.ours), expected);
    }
    await pair.both(['images', 'rm', '--sync', imageName]);
  };

  try {
    await corpus(judged, pair.dir);
    const { layer, tree } = packed(pair.dir, sparse, '--sparse', '--format=gnu');
    layers = [layer];
    writeFileSync(archive, ociArchive({ layers, name: imageName, gzip: false }));
    t.match((await imported(pair.stock)).stderr, /unhandled tar header type 83/, 'containerd does not know this form');
    t.equal((await imported(pair.ours)).code, 0);
    chmodSync(tree, 0o755); // an image's root is open
    compare('holes in the old form of GNU tar', await looked(pair.ours), await listing(tree));
    await pair.both(['images', 'rm', '--sync', imageName]);
  } finally {
    t.same(await pair.stop(), [], 'nothing is left on the host');
  }
});

/** Every layer of the corpus, one after the other. */
async function corpus(
  judged: (what: string, layers: readonly Buffer[], least: number) => Promise<void>,
  dir: string,
): Promise<void> {
  for (const format of ['gnu', 'oldgnu', 'posix']) {
    await judged(`tar of format ${format}`, [packed(dir, everything, `--format=${format}`).layer], 30);
  }
  for (const format of ['ustar', 'v7']) {
    const script =
      format === 'v7' ? ustar.replace('mknod d/null c 1 3; mkfifo d/fifo;', '').replace(/long=.*/s, '') : ustar;
    await judged(`tar of format ${format}`, [packed(dir, script, `--format=${format}`).layer], 6);
  }
  for (const form of ['0.0', '0.1', '1.0']) {
    const { layer } = packed(dir, sparse, '--sparse', '--format=posix', `--sparse-version=${form}`);
    await judged(`holes, form ${form} of PAX`, [layer], 4);
  }
  for (const [what, entries] of Object.entries(seconds)) await judged(what, [lower, tar(entries)], 1);
  const many = Array.from({ length: manyFiles }, (_, at): TarEntry => {
    return {
      name: `many/${at % 100}/${Math.floor(at / 100)}`,
      body: `file ${at}`,
      mode: 0o600 + (at % 0o100),
      uid: at % 7,
    };
  });
  await judged(`${manyFiles} small files`, [busyboxLayer(), tar(many)], manyFiles);
}
