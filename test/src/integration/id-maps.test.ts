/**
 * Containers in a user namespace on id-mapped layers: whose files are whose inside, outside, on the disk and in what is made of
 * them, by every client that can ask for it.
 */
import t from 'tap';
import type { Test } from 'tap';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { connect } from '@gantry/client';
import type { Client } from '@gantry/client';
import { codeOf } from '@gantry/errors';
import { decodeSnapshot } from '@gantry/snapshots';
import { keys, openStore } from '@gantry/store';
import {
  Box,
  busyboxBinary,
  busyboxLayer,
  gantry,
  imageName,
  newContainerd,
  newCtr,
  ociArchive,
  run,
  stockContainerd,
  tar,
  until,
} from '../index.ts';
import type { CommandResult } from '../index.ts';

const skip = process.getuid?.() !== 0 ? 'needs root' : false;
const [uidLabel, gidLabel] = ['containerd.io/snapshot/uidmapping', 'containerd.io/snapshot/gidmapping'];
const map = '0:100000:65536';
const both = ['--uidmap', map, '--gidmap', map];
const labels = { [uidLabel]: map, [gidLabel]: map };

/** The smallest program that ends with its effective user id, as far as a status goes (x86-64: geteuid, exit). */
function euidProgram(): Buffer {
  const code = Buffer.from('b86b0000000f0589c7b83c0000000f05', 'hex');
  const head = Buffer.alloc(120);
  head.write('7f454c46020101', 'hex');
  head.writeUInt16LE(2, 16); // ET_EXEC
  head.writeUInt16LE(62, 18); // EM_X86_64
  head.writeUInt32LE(1, 20);
  head.writeBigUInt64LE(0x400078n, 24); // where it begins
  head.writeBigUInt64LE(64n, 32);
  head.writeUInt16LE(64, 52);
  head.writeUInt16LE(56, 54);
  head.writeUInt16LE(1, 56);
  head.writeUInt32LE(1, 64); // PT_LOAD
  head.writeUInt32LE(5, 68); // readable, executable
  for (const [at, value] of [
    [80, 0x400000n],
    [88, 0x400000n],
    [96, BigInt(120 + code.length)],
    [104, BigInt(120 + code.length)],
    [112, 0x1000n],
  ] as const) {
    head.writeBigUInt64LE(value, at);
  }
  return Buffer.concat([head, code]);
}

/** A second layer with owners, a setuid program and a hard link. */
const second = tar([
  { name: 'srv/', type: 'directory' },
  { name: 'srv/web', body: 'web\n', uid: 1000, gid: 2000 },
  { name: 'srv/link', type: 'hardlink', body: 'srv/web', uid: 1000, gid: 2000 },
  { name: 'srv/gone', body: 'x' },
  { name: 'srv/far', body: 'far', uid: 70_000, gid: 70_000 },
  { name: 'bin/setuid', body: busyboxBinary(), mode: 0o4755 },
]);

async function names(items: AsyncIterable<{ readonly name: string }>): Promise<string[]> {
  const found: string[] = [];
  for await (const { name } of items) found.push(name);
  return found;
}

function ok(t: Pick<Test, 'equal'>, result: CommandResult, stdout: string, what = 'output'): void {
  t.equal(`${result.stdout}${result.code === 0 ? '' : `exit ${result.code}: ${result.stderr}`}`, stdout, what);
}

t.setTimeout(250_000);
t.test('id-mapped layers', { skip, timeout: 240_000 }, async (t) => {
  const box = new Box();
  await box.start();
  const client: Client = await connect({ address: box.daemon.address, namespace: box.namespace });
  const plugins = await client.introspection.plugins(['type==io.containerd.snapshotter.v1, id==overlayfs']);
  if (plugins[0]?.capabilities.includes('remap-ids') !== true) {
    client.close();
    await box.end(t);
    t.comment('skipped: this kernel or file system cannot map the ids of layers');
    return;
  }
  const archive = path.join(box.dir, 'two.tar');
  writeFileSync(archive, ociArchive({ layers: [busyboxLayer(), second] }));
  await box.ctr(['images', 'import', archive]);
  // What nobody refers to would be collected.
  const lease = (await client.leases.create()).id;
  const held = { labels, lease };
  const trees = path.join(box.daemon.root, 'snapshots/overlayfs/snapshots');
  const mine = (words: readonly string[]): Promise<CommandResult> => gantry(box.daemon, box.namespace, words);
  const layersNow = async (): Promise<string> => {
    const words = [...layers, '-printf', String.raw`%p %U:%G %m %T@ %i\n`];
    return (await run('find', words, { cwd: trees })).stdout.split('\n').toSorted().join('\n');
  };
  const layers = readdirSync(trees);
  const before = await layersNow();
  const committedNames = (): Promise<string[]> => names(client.snapshots.list(['kind==committed']));
  const committed = await committedNames();
  const upperOf = async (key: string): Promise<string> => {
    const mounts = await client.snapshots.mounts(key);
    return mounts[0]?.options.find((option) => option.startsWith('upperdir='))?.slice('upperdir='.length) ?? '';
  };

  await t.test('files belong to the container’s ids inside and to the host’s on the disk', async (t) => {
    const script = `id -u; stat -c "%n %u:%g %a %h" / /bin/setuid /srv/web /srv/link /srv/far; cat /proc/self/uid_map | tr -s " "
      echo new > /srv/new; chown 1000:2000 /srv/new; chmod 4755 /srv/new; ln /srv/new /srv/new2; rm /srv/gone; mkdir /srv/dir
      echo more >> /srv/web; stat -c "%n %u:%g %a %h" /srv/new /srv/new2 /srv/dir /srv/web`;
    const words = ['run', '--name', 'one', '--hostname', 'h', '--uidmap', map, imageName, 'sh', '-ec', script];
    ok(
      t,
      await mine(words),
      '0\n/ 0:0 755 1\n/bin/setuid 0:0 4755 1\n/srv/web 1000:2000 644 2\n/srv/link 1000:2000 644 2\n/srv/far 65534:65534 644 1\n' +
        ' 0 100000 65536\n/srv/new 1000:2000 4755 2\n/srv/new2 1000:2000 4755 2\n/srv/dir 0:0 755 2\n/srv/web 1000:2000 644 1\n',
    );
    const upper = await upperOf('one');
    const { stdout } = await run('stat', ['-c', '%n %u:%g %a %h', '.', 'srv/new', 'srv/new2', 'srv/dir', 'srv/web'], {
      cwd: upper,
    });
    t.equal(
      stdout,
      '. 100000:100000 755 3\nsrv/new 101000:102000 4755 2\nsrv/new2 101000:102000 4755 2\nsrv/dir 100000:100000 755 2\n' +
        'srv/web 101000:102000 644 1\n',
    );
  });

  await t.test('layers are shared by whatever maps, and no other is made of them', async (t) => {
    for (const other of ['0:300000:65536', '0:500000:1,1:600000:65535']) {
      const flags = other.split(',').flatMap((range) => ['--uidmap', range]);
      ok(t, await mine(['run', '--rm', ...flags, imageName, 'stat', '-c', '%u', '/srv/web']), '1000\n', other);
    }
    t.same((await committedNames()).toSorted(), committed.toSorted(), 'no snapshot beside the layers');
    t.equal(await layersNow(), before, 'they are as they were');
    const { size } = await client.snapshots.usage('one');
    t.ok(size < 200_000n, `what it wrote takes ${size} bytes`);
  });

  await t.test('what runs is the host’s user, before and after a death of gantryd', async (t) => {
    const { stdout } = await mine(['run', '-d', '--uidmap', map, '--name', 'stay', imageName, 'sleep', '1000']);
    t.equal(stdout.trim(), 'stay');
    const pid = (await box.tasks()).get('stay')?.pid ?? 0;
    t.match(readFileSync(`/proc/${pid}/status`, 'latin1'), /^Uid:\t100000\t/m);
    const exec = (): Promise<CommandResult> =>
      mine([
        'exec',
        'stay',
        'sh',
        '-c',
        'id -u; stat -c "%u:%g" /srv/web; echo x >> /srv/written; stat -c %u /srv/written',
      ]);
    ok(t, await exec(), '0\n1000:2000\n0\n');
    ok(t, await mine(['exec', '--user', 'web', 'stay', 'id', '-u']), '1000\n');
    await box.daemon.kill();
    await box.daemon.start();
    await until(
      'the task to be known again',
      async () => (await box.tasks()).get('stay')?.status === 'RUNNING',
      60_000,
    );
    ok(t, await exec(), '0\n1000:2000\n0\n');
    t.match((await mine(['diff', 'stay'])).stdout.split('\n').toSorted(), ['', 'A /srv/written', 'C /srv']);
    await mine(['rm', '-f', 'stay']);
  });

  await t.test('setuid programs become the users that they belong to inside', async (t) => {
    if (process.arch !== 'x64') return void t.comment('skipped: the program is one for x86-64');
    const program = euidProgram();
    const programs = tar([
      { name: 'bin/root', body: program, mode: 0o4755 },
      { name: 'bin/web', body: program, mode: 0o4755, uid: 1000, gid: 1000 },
      { name: 'bin/own', body: program, mode: 0o755 },
    ]);
    const file = path.join(box.dir, 'setuid.tar');
    const name = 'docker.io/library/setuid:1';
    writeFileSync(file, ociArchive({ layers: [busyboxLayer(), programs], name, config: { User: '1234:1234' } }));
    t.equal((await box.ctr(['images', 'import', file])).code, 0);
    const words = ['run', '--rm', '--allow-new-privs', ...both, '--remap-labels', name, 'setuid'];
    const codes: number[] = [];
    for (const which of ['root', 'web', 'own']) codes.push((await box.ctr([...words, `/bin/${which}`])).code);
    t.same(codes, [0, 1000 & 255, 1234 & 255]);
  });

  await t.test('files in a directory of the host get the host’s ids', async (t) => {
    const volume = path.join(box.dir, 'volume');
    mkdirSync(volume);
    await run('chown', ['100000:100000', volume]);
    const script = 'echo x > /v/made; chown 7:8 /v/made; echo x > /v/root';
    ok(t, await mine(['run', '--rm', '--uidmap', map, '-v', `${volume}:/v`, imageName, 'sh', '-ec', script]), '');
    t.equal(
      (await run('stat', ['-c', '%u:%g', 'made', 'root'], { cwd: volume })).stdout,
      '100007:100008\n100000:100000\n',
    );
  });

  await t.test('an image made of it has the container’s ids', async (t) => {
    t.equal((await mine(['commit', 'one', 'made:1'])).code, 0);
    const look = ['sh', '-c', 'ls /srv; stat -c "%n %u:%g %a %h" /bin/setuid /srv/new /srv/new2 /srv/dir /srv/web'];
    const seen =
      'dir\nfar\nlink\nnew\nnew2\nweb\n/bin/setuid 0:0 4755 1\n/srv/new 1000:2000 4755 2\n/srv/new2 1000:2000 4755 2\n' +
      '/srv/dir 0:0 755 2\n/srv/web 1000:2000 644 1\n';
    ok(t, await mine(['run', '--rm', 'made:1', ...look]), seen, 'as the host');
    ok(t, await mine(['run', '--rm', '--uidmap', '0:200000:65536', 'made:1', ...look]), seen, 'with other ids');
    const mounts = await mine(['snapshot', 'mounts', 'one', '/x']);
    t.match(mounts, { stdout: /-o uidmap=0:100000:65536,gidmap=/, stderr: /mount\(8\) does not know uidmap=/ });
    const layer = path.join(box.dir, 'layer.tar');
    const words = ['snapshots', 'diff', '--media-type', 'application/vnd.oci.image.layer.v1.tar', 'one'];
    writeFileSync(layer, (await box.ctr(words)).stdout, 'latin1');
    t.equal(
      (await run('tar', ['--numeric-owner', '-tf', layer])).stdout,
      'srv/\nsrv/dir/\nsrv/.wh.gone\nsrv/new\nsrv/new2\nsrv/web\n',
      'only what it changed',
    );
  });

  await t.test('a snapshot that is committed is a layer like any other', async (t) => {
    const { parent } = await client.snapshots.stat('one');
    await client.snapshots.prepare('work', parent, held);
    const upper = await upperOf('work');
    mkdirSync(path.join(upper, 'etc'));
    writeFileSync(path.join(upper, 'etc/mine'), 'mine');
    await run('chown', ['-R', '100005:100006', path.join(upper, 'etc')]);
    await client.snapshots.commit('layer', 'work', { lease });
    const [mount] = await client.snapshots.prepare('again', 'layer', held);
    const lower = mount?.options
      .find((option) => option.startsWith('lowerdir='))
      ?.slice('lowerdir='.length)
      .split(':')[0];
    const look = ['-c', '%u:%g', lower ?? '', path.join(lower ?? '', 'etc/mine')];
    t.equal((await run('stat', look)).stdout, '0:0\n5:6\n');
    for (const key of ['again', 'layer']) await client.snapshots.remove(key);
  });

  await t.test('the clients of containerd 1.6 and 2.x, and another OCI runtime', async (t) => {
    const look = ['stat', '-c', '%u:%g', '/srv/web', '/bin/setuid'];
    const seen = '1000:2000\n0:0\n';
    ok(t, await box.ctr(['run', '--rm', ...both, '--remap-labels', imageName, 'old', ...look]), seen, 'ctr 1.6');
    const words = ['run', '--rm', ...both, '--remap-labels', '--runc-binary', 'runc', imageName, 'by-runc', ...look];
    if ((await run('sh', ['-c', 'command -v runc'])).code === 0) ok(t, await box.ctr(words), seen, 'runc');
    else t.comment('skipped: no runc on this machine');
    const file = newCtr();
    if (file === undefined) return void t.comment('skipped: no ctr of containerd 2.x (GANTRY_TEST_CTR names it)');
    const args = [
      '-a',
      box.daemon.address,
      '-n',
      box.namespace,
      'run',
      '--rm',
      ...both,
      '--remap-labels',
      imageName,
      'new',
    ];
    ok(t, await run(file, [...args, ...look]), seen, 'ctr 2.x');
  });

  await t.test('maps that cannot be are refused, and nothing is made', async (t) => {
    const { parent } = await client.snapshots.stat('one');
    const dirs = readdirSync(trees).toSorted();
    const bad = [
      'x',
      '0:0',
      '0:-1:5',
      '1:1:1',
      '0:1:0',
      '0:1:99999999999',
      '0:4294967295:1',
      '0:1:5,3:9:5',
      '0:1:5,5:3:5',
    ];
    for (const text of bad) {
      const refused = client.snapshots.prepare('bad', parent, { labels: { [uidLabel]: text, [gidLabel]: map } });
      t.equal(codeOf(await refused.catch((err: unknown) => err)), 'invalid argument', text);
    }
    const alone = client.snapshots.view('bad', parent, { labels: { [uidLabel]: map } });
    await t.rejects(alone, { code: 'invalid argument', message: /without label .*gidmapping/ });
    t.same(readdirSync(trees).toSorted(), dirs);
    const flags = await mine(['run', '--uidmap', '0:1', imageName, 'true']);
    t.match(flags, { code: 125, stderr: /--uidmap: "0:1" is not container-id:host-id:length/ });
    const name = await mine(['run', '--userns', 'nobody-has-this-name', imageName, 'true']);
    t.match(name, { code: 125, stderr: /add a line such as "nobody-has-this-name:100000:65536"/ });
    const native = await mine(['run', '--uidmap', map, '--privileged', imageName, 'true']);
    t.match(native, { code: 125, stderr: /privileged/ });
  });

  await t.test('what an image says of maps does not count', async (t) => {
    const hostile = path.join(box.dir, 'hostile.tar');
    writeFileSync(hostile, ociArchive({ name: 'docker.io/library/hostile:1', config: { Labels: labels } }));
    t.equal((await box.ctr(['images', 'import', hostile])).code, 0);
    ok(
      t,
      await mine(['run', '--name', 'from-hostile', 'hostile:1', 'cat', '/proc/self/uid_map']),
      '         0          0 4294967295\n',
    );
    t.same((await client.snapshots.stat('from-hostile')).labels, {});
  });

  await t.test('mounts are those that containerd 2.1 gives', async (t) => {
    const program = newContainerd();
    if (program === undefined) return void t.comment('skipped: no containerd 2.1 (GANTRY_TEST_CONTAINERD names it)');
    const dir = path.join(box.dir, 'peer');
    const peer = stockContainerd(dir, path.join(dir, 'state'), [], program);
    await peer.start();
    const theirs = await connect({ address: peer.address, namespace: box.namespace });
    const shapes = async ({ leases, snapshots }: Client): Promise<unknown[]> => {
      const { id: lease } = await leases.create();
      const held = { labels, lease };
      const found: unknown[] = [];
      const note = (mounts: Awaited<ReturnType<typeof snapshots.mounts>>): void => {
        const plain = (option: string): string => option.replaceAll(/\/[^:,]*\/snapshots\/\d+\//g, 'ID/');
        found.push(mounts.map(({ type, options }) => [type, ...options.map(plain).toSorted()]));
      };
      await snapshots.prepare('c0', '', { lease });
      await snapshots.commit('l0', 'c0', { lease });
      await snapshots.prepare('c1', 'l0', { lease });
      await snapshots.commit('l1', 'c1', { lease });
      for (const [n, parent] of ['', 'l0', 'l1'].entries()) {
        note(await snapshots.prepare(`a${n}`, parent, held));
        note(await snapshots.view(`v${n}`, parent, held));
      }
      for (const key of ['a0', 'v0', 'a1', 'v1', 'a2', 'v2', 'l1', 'l0']) await snapshots.remove(key);
      return found;
    };
    t.same(await shapes(client), await shapes(theirs));
    const [plugin] = await theirs.introspection.plugins(['type==io.containerd.snapshotter.v1, id==overlayfs']);
    t.same(plugins[0]?.capabilities, plugin?.capabilities);
    theirs.close();
    await peer.stop();
  });

  await t.test('gantryd killed amid prepares leaves whole snapshots only', async (t) => {
    const { parent } = await client.snapshots.stat('one');
    const prepares = Array.from({ length: 40 }, async (_, n) =>
      client.snapshots.prepare(`amid-${n}`, parent, held).then(
        () => n,
        () => undefined,
      ),
    );
    await Promise.race(prepares);
    await box.daemon.kill();
    const answered = (await Promise.all(prepares)).filter((n) => n !== undefined);
    await box.daemon.start();
    const after = await connect({ address: box.daemon.address, namespace: box.namespace });
    const there = (await names(after.snapshots.list())).filter((name) => name.startsWith('amid-'));
    for (const n of answered) t.ok(there.includes(`amid-${n}`), `answered: ${n}`);
    for (const name of there) t.ok((await after.snapshots.mounts(name)).length === 1);
    for (const name of there) await after.snapshots.remove(name);
    after.close();
    await box.daemon.stop();
    const store = await openStore(path.join(box.daemon.root, 'meta'));
    const ids = [...store.scan(keys.snapshots())].flatMap(({ key, value }) =>
      key[2] === 'overlayfs' ? [decodeSnapshot(key.at(-1) ?? '', value).id] : [],
    );
    await store.close();
    await box.daemon.start();
    // What the collector takes meanwhile need not be there; what nobody knows must not.
    const unknown = (): string[] => readdirSync(trees).filter((id) => !ids.includes(id));
    await until('what was half-made to be gone', async () => unknown().length === 0, 60_000);
  });

  client.close();
  await box.removeAll();
  for (const name of ['one', 'from-hostile']) await mine(['rm', '-f', name]);
  await box.end(t);
});
