/** The gantry command's verbs about images and the nouns below them, as a process, against a real supervisor. */
import t from 'tap';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { dockerArchive, ociArchive, supervisorMissing, testSupervisor } from '@gantry/client/testing';

const skip = supervisorMissing() ?? false;
const bin = fileURLToPath(new URL('../bin/gantry.js', import.meta.url));

interface Result {
  readonly code: number | null;
  readonly out: string;
  readonly bytes: Buffer;
  readonly err: string;
}

const sha256 = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;

t.setTimeout(180_000);
t.test('images and what they are made of', { skip, timeout: 170_000 }, async (t) => {
  const dir = mkdtempSync(path.join(tmpdir(), 'gantry-cli-images-'));
  const supervisor = await testSupervisor();
  const gantry = async (line: string | readonly string[], input: string | Buffer = ''): Promise<Result> => {
    const child = spawn(process.execPath, [bin, ...(typeof line === 'string' ? line.split(' ') : line)], {
      env: { ...process.env, GANTRY_ADDRESS: supervisor.address, GANTRY_NAMESPACE: supervisor.namespace },
    });
    const out: Buffer[] = [];
    let err = '';
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk) => (err += String(chunk)));
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
    await once(child, 'close');
    const bytes = Buffer.concat(out);
    return { code: child.exitCode, out: bytes.toString(), bytes, err };
  };
  const good = async (line: string | readonly string[], input: string | Buffer = ''): Promise<string> => {
    const { code, out, err } = await gantry(line, input);
    t.equal(code, 0, `${String(line)}: ${err}`);
    return out;
  };
  const names = async (...words: string[]): Promise<string[]> =>
    (await good(['images', '--format', 'json', ...words]))
      .split('\n')
      .filter((text) => text !== '')
      .map((text) => String(JSON.parse(text).name).replace('docker.io/library/', ''));

  await t.test('load takes every kind of archive, packed as it likes, from a file and from stdin', async (t) => {
    const labelled = ociArchive({ run: { Labels: { purpose: 'test' } } });
    writeFileSync(path.join(dir, 'box.tar.gz'), gzipSync(labelled));
    t.equal(await good(['load', '-i', path.join(dir, 'box.tar.gz')]), 'Loaded image: box:1\n');
    t.equal(await good('load', dockerArchive('old:1')), 'Loaded image: old:1\n');
    for (const packer of ['zstd', 'xz', 'bzip2']) {
      const packed = spawnSync(packer, ['-c', '-1'], { input: dockerArchive(`${packer}:1`) });
      if (packed.status !== 0) continue;
      t.equal(await good('load -q', packed.stdout), `docker.io/library/${packer}:1\n`);
      t.match(await gantry('load', packed.stdout.subarray(0, 5000)), { code: 125, err: /loading from stdin: / });
      await good(`rmi ${packer}:1`);
    }
    t.match(await gantry('load -i /nonexistent/x.tar'), {
      code: 125,
      err: /^gantry: loading \/nonexistent\/x\.tar: ENOENT.*\n$/,
    });
    t.match(await gantry(['load', '-i', dir]), { code: 125, err: /is a directory: tar -C / });
    t.match(await gantry(['load'], gzipSync(labelled).subarray(0, 5000)), { code: 125, err: /loading from stdin: / });
  });

  await t.test('images are listed as people choose them', async (t) => {
    await good('tag box:1 a.example/team/box:2');
    const table = (await good('images --digests')).split('\n');
    t.match(table[0], /^REPOSITORY +TAG +DIGEST +IMAGE ID +PLATFORM +CREATED +SIZE$/);
    t.match(
      table[1],
      /^a\.example\/team\/box +2 +sha256:[0-9a-f]{64} +[0-9a-f]{12} +linux\/\S+ +\d+ years? ago +\S+B$/,
    );
    t.same(await names('box'), ['box:1']);
    t.same(await names('-f', 'reference=*/*/box'), ['a.example/team/box:2']);
    t.same(await names('-f', 'label=purpose=test'), ['a.example/team/box:2', 'box:1']);
    t.same(await names('-f', 'dangling=true'), []);
    t.match(await good('images -q --no-trunc old'), /^sha256:[0-9a-f]{64}\n$/);
    t.match(await gantry('images -f size=1'), { code: 125, err: /"size=1" is not a filter/ });
    t.match(await good('image inspect box:1'), /"name": "docker.io\/library\/box:1"/);
    t.match(await gantry('image inspect --platform linux/s390x box:1'), { code: 125, err: /it is for linux/ });
    t.match(await good('history -q box:1'), /^([0-9a-f]{12}\n)+$/);
    t.match(await good('history --human=false --no-trunc box:1'), /sha256:[0-9a-f]{64} +\d+\n?/);
  });

  await t.test('save writes several into one archive, to a file or to a pipe; the same each time', async (t) => {
    const file = path.join(dir, 'two.tar');
    await good(['save', '-o', file, 'box:1', 'old:1']);
    const { bytes } = await gantry('save box:1 old:1');
    t.same(spawnSync('cmp', [file, '-'], { input: bytes }).status, 0);
    t.match(await gantry(['save', '-o', path.join(dir, 'nowhere/x.tar'), 'box:1']), { code: 125, err: /nowhere/ });
    const device = path.join(dir, 'full');
    if (spawnSync('mknod', ['-m', '666', device, 'c', '1', '7']).status === 0) {
      t.match(await gantry(['save', '-o', device, 'box:1']), { code: 125, err: /writing .*full: ENOSPC/ });
      t.ok(statSync(device).isCharacterDevice(), 'a device is not removed');
    }
    t.match(await gantry(['save', '-o', file, 'box:1', 'nothing:9']), { code: 125 });
    t.same(spawnSync('cmp', [file, '-'], { input: bytes }).status, 0, 'what was there is there');
    t.same(
      readdirSync(dir).filter((name) => name.endsWith('.part')),
      [],
    );
    await good('rmi old:1');
    t.match(await good(['load', '-i', file]), /Loaded image: old:1\n/);
  });

  await t.test('rmi says what goes, and leaves what is used', async (t) => {
    t.equal(await good('rmi a.example/team/box:2'), 'Untagged: a.example/team/box:2\n', 'box:1 is the same image');
    await good('run --name user old:1 true');
    t.match(await gantry('rmi old:1'), {
      code: 125,
      out: '',
      err: 'gantry: image old:1 is not removed: container user uses it: remove that first, or use --force\n',
    });
    t.match(await good('rmi -f old:1 nothing:9'), /^Untagged: old:1\nDeleted: sha256:[0-9a-f]{64}\n$/);
    t.match(await good('diff user'), '', 'a container lives on without its image');
    await good('rm user');
    t.match(await gantry('rmi old:1'), { code: 125, err: 'gantry: image "old:1": not found\n' });
  });

  await t.test('prune takes what the filters say', async (t) => {
    await good('tag box:1 box:2');
    t.match(await good('prune -a -f --filter label!=purpose'), /^Total reclaimed space: 0B\n$/);
    t.match(await good('prune -a -f --filter until=2023-01-01'), /^Total reclaimed space: 0B\n$/);
    t.match(await gantry('prune -a -f --filter reference=box'), { code: 125, err: /until, label, label!/ });
    await good('run --name user box:1 true');
    t.match(await good('prune -a -f --filter label=purpose --filter until=24h'), /^Deleted: \S+box:2 \(sha256:/);
    t.same(await names(), ['box:1']);
    await good('rm user');
  });

  await t.test('content: in, out, labelled, held, collected', async (t) => {
    const digest = sha256('something');
    const kept = 'containerd.io/gc.root=kept';
    const other = sha256('other');
    t.equal(
      await good(['content', 'ingest', 'r', '--label', kept, '--expected-digest', digest], 'something'),
      `${digest}\n`,
    );
    t.match(await gantry(['content', 'ingest', 'r', '--expected-digest', other], 'another'), {
      code: 125,
      err: /unexpected commit digest/,
    });
    t.match(await good('content active -q'), 'r\n', 'the bytes are there for another attempt');
    await good('content abort r');
    t.equal(await good(['content', 'get', digest, '--offset', '4', '--size', '3']), 'thi');
    await good(['content', 'label', digest, 'a=b']);
    t.equal(await good(['content', 'ls', '-q', 'labels.a==b']), `${digest}\n`);
    t.match(JSON.parse(await good(['content', 'info', digest])), [{ digest, sizeBytes: 9, labels: { a: 'b' } }]);
    await good(['lease', 'create', '--id', 'l', '-x', '1h30m']);
    await good(['lease', 'add', 'l', 'content', digest]);
    await good(['content', 'label', digest, 'containerd.io/gc.root=']);
    await good('content prune');
    t.match(await good('lease resources l'), `content   ${digest}`);
    t.equal((await gantry(['content', 'get', digest])).code, 0, 'the lease holds it');
    await good(['lease', 'remove', 'l', 'content', digest]);
    await good('content prune');
    t.match(await gantry(['content', 'get', digest]), { code: 125, err: /not found/ });
    await good('lease rm l');
    t.match(await gantry('content label x'), { code: 125, err: /usage: gantry content label/ });
  });

  await t.test('snapshots: made, looked at, compared, committed', async (t) => {
    const chain = (await good('snapshot unpack box:1')).trim();
    const kept = ['--label', 'containerd.io/gc.root=kept'];
    t.match(
      await good(['snapshot', 'prepare', '-t', '/mnt', ...kept, 'work', chain]),
      /^mount -t \S+ \S+ \/mnt -o .*\n$/,
    );
    await good(['snapshot', 'view', ...kept, 'look', chain]);
    t.match(await good('snapshot ls -q kind==view'), 'look\n');
    t.match(await good('snapshot tree'), new RegExp(`^sha256:.*\n +\\\\_ ${chain}\n(.*\n)* +\\\\_ work\n`));
    const listed = spawnSync('tar', ['-tz'], { input: (await gantry('snapshot diff work')).bytes, encoding: 'utf8' });
    t.same([listed.status, listed.stdout], [0, ''], 'nothing has changed yet');
    const plain = ['--media-type', 'application/vnd.oci.image.layer.v1.tar'];
    const whole = await gantry(['snapshot', 'diff', ...plain, 'work', 'look']);
    t.same([whole.code, whole.bytes.every((byte) => byte === 0)], [0, true]);
    await good(['snapshot', 'commit', ...kept, 'done', 'work']);
    await good('snapshot label done a=b');
    t.match(await good('snapshot ls labels.a==b'), /\ndone +sha256:\S+ +Committed /);
    t.match(
      await good('snapshot diff --keep done'),
      /^application\/vnd\.oci\.image\.layer\.v1\.tar\+gzip sha256:\S+\n$/,
    );
    t.equal(await good('snapshot rm look done'), 'look\ndone\n');
  });

  await t.test('what cannot be written is not passed over', async (t) => {
    const device = path.join(dir, 'full-too');
    if (spawnSync('mknod', ['-m', '666', device, 'c', '1', '7']).status !== 0) return;
    const fd = openSync(device, 'w');
    for (const words of [['images'], ['content', 'ls'], ['history', 'box:1']]) {
      const env = { ...process.env, GANTRY_ADDRESS: supervisor.address, GANTRY_NAMESPACE: supervisor.namespace };
      const child = spawn(process.execPath, [bin, ...words], { env, stdio: ['ignore', fd, 'pipe'] });
      let err = '';
      child.stderr?.on('data', (chunk) => (err += String(chunk)));
      await once(child, 'close');
      t.match([child.exitCode, err], [125, /^gantry: writing to stdout: ENOSPC[^\n]*\n$/], words.join(' '));
    }
    closeSync(fd);
  });

  await t.test('nouns explain themselves', async (t) => {
    t.match(
      await good('content --help'),
      /^Usage: gantry \[flags\] content COMMAND\n[^]*\n {2}verify +Reads every blob/,
    );
    t.match(await good('help image'), /\n {2}rm +Removes image names/);
    t.match(await gantry('image'), { code: 125, err: /"image" needs one of: / });
    t.match(await good('pull --help'), /Aliases: image pull, i pull/);
    t.match(await gantry('namespace label'), { code: 125 });
  });

  await good('rmi box:1');
  await supervisor.stop();
  rmSync(dir, { recursive: true, force: true });
});
