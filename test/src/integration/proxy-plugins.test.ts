/**
 * Differs and sandbox controllers in other processes, stream processors: a stock containerd and another gantryd at the far end, which
 * may be away, hang, or be something else altogether.
 */
import t from 'tap';
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { containers, diff, sandbox, snapshots, tasks } from '@gantry/api';
import type { MethodName, PartialMessage, RequestOf, ResponseOf, types } from '@gantry/api';
import { connect } from '@gantry/client';
import type { Client } from '@gantry/client';
import {
  ctr,
  gantryd,
  hostState,
  imageName,
  leaks,
  missing,
  ociArchive,
  parentOf,
  removeScratch,
  scratchDirectory,
  scratchNamespace,
  sha256,
  stockContainerd,
  tar,
  until,
} from '../index.ts';
import type { DaemonProcess } from '../index.ts';

const skip = missing('ctr', 'containerd', 'busybox', 'openssl') ?? false;
t.setTimeout(200_000);

/** On a busy machine. */
const patienceMs = 60_000;

const layerType = 'application/vnd.oci.image.layer.v1.tar';
const secretType = `${layerType}+gzip+secret`;

/** Who is behind another collects no garbage, and keeps no spares. */
const quiet = ['[shim]', 'spares = 0', '[gc]', 'schedule_delay = "1000h"', 'startup_delay = "1000h"'];

/** When something has failed before they were stopped. */
function killAtEnd(test: { teardown(end: () => Promise<void>): void }, ...daemons: DaemonProcess[]): void {
  test.teardown(async () => {
    for (const daemon of daemons) if (daemon.pid !== 0) await daemon.kill();
  });
}

function daemonWith(dir: string, lines: readonly string[]): DaemonProcess & { root: string; state: string } {
  mkdirSync(dir, { recursive: true });
  const config = path.join(dir, 'own.toml');
  writeFileSync(config, ['[shim]', 'spares = 0', '[gc]', 'mutation_threshold = 0', ...lines, ''].join('\n'));
  return gantryd(dir, ['--config', config]);
}

/** What nothing refers to stays. */
const kept = { 'containerd.io/gc.root': '2020-01-01T00:00:00Z' };

/** Stops the process; a busy machine takes its time to tell all of its threads. */
async function stopped(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  const threads = `/proc/${pid}/task`;
  const isStopped = (id: string): boolean => {
    try {
      return / T /.test(readFileSync(path.join(threads, id, 'stat'), 'latin1'));
    } catch {
      return true; // it has ended
    }
  };
  await until('the process to stop', () => readdirSync(threads).every(isStopped), patienceMs);
}

/** What ends behind an answer may take a moment. */
async function cleanEnd(
  test: Pick<typeof t, 'same'>,
  before: ReturnType<typeof hostState>,
  dir: string,
  markers: readonly string[],
): Promise<void> {
  await until('the end of all', () => leaks(before, markers).length === 0, patienceMs).catch(() => undefined);
  test.same(leaks(before, markers), [], 'nothing is left on the host');
  removeScratch(dir);
}

const proxy = (type: string, address: string, ...more: string[]): string[] => [
  '[proxy_plugins.far]',
  `type = "${type}"`,
  `address = "${address}"`,
  ...more,
];
const order = (...names: string[]): string[] => [
  '[plugins."io.containerd.service.v1.diff-service"]',
  `default = ${JSON.stringify(names)}`,
];

/** A layer applied to a snapshot of its own; the result is what the differ says, the tree is at the mount's source. */
async function applied(
  client: Client,
  key: string,
  layer: PartialMessage<types.Descriptor>,
  options: { timeoutMs?: number; payloads?: diff.ApplyRequest['payloads'] } = {},
): Promise<{ readonly digest: string; readonly tree: string }> {
  const { timeoutMs = patienceMs, payloads = {} } = options;
  const { SnapshotsService: service } = snapshots;
  const { mounts } = await client.transport.unary(service, service.methods.prepare, {
    snapshotter: 'native',
    key,
    labels: kept,
  });
  const request = { diff: layer, mounts, payloads };
  const reply = await client.transport.unary(diff.DiffService, diff.DiffService.methods.apply, request, { timeoutMs });
  return { digest: reply.applied?.digest ?? '', tree: mounts[0]?.source ?? '' };
}

t.test(
  'a stock containerd unpacks; away, stopped or something else, it is named',
  { skip, timeout: 90_000 },
  async (t) => {
    const before = hostState();
    const dir = scratchDirectory();
    const namespace = scratchNamespace('d');
    const back = stockContainerd(path.join(dir, 's'));
    const daemon = daemonWith(path.join(dir, 'g'), [...proxy('diff', back.address), ...order('far')]);
    killAtEnd(t, back, daemon);
    const archive = path.join(dir, 'box.tar');
    writeFileSync(archive, ociArchive());
    await Promise.all([back.start(), daemon.start()]);
    using client = connect({ address: daemon.address, namespace, timeoutMs: patienceMs });

    const unknown = await ctr(daemon, namespace, ['images', 'import', archive]);
    t.match(
      [unknown.code, unknown.stderr],
      [1, /content digest sha256:\w+: not found/],
      'it has blobs of its own only',
    );
    t.equal((await ctr(back, namespace, ['images', 'import', '--no-unpack', archive])).code, 0);
    t.equal((await ctr(daemon, namespace, ['images', 'import', archive])).code, 0);
    t.equal((await ctr(daemon, namespace, ['run', '--rm', imageName, 'x', 'echo', 'hello'])).stdout, 'hello\n');
    const plugins = (await ctr(daemon, namespace, ['plugins', 'ls', '-d', 'id==far'])).stdout;
    t.match(plugins, /io\.containerd\.differ\.v1/);

    const bytes = tar([{ name: 'f', body: 'content' }]);
    const layer = { mediaType: layerType, digest: sha256(bytes), size: BigInt(bytes.length) };
    for (const { address } of [daemon, back]) {
      using other = connect({ address, namespace });
      await other.content.write([bytes], { ref: 'layer', expected: layer.digest, labels: kept });
    }
    const far = await applied(client, 'here', layer);
    t.equal(far.digest, layer.digest);
    t.equal(readFileSync(path.join(far.tree, 'f'), 'utf8'), 'content');

    await stopped(back.pid);
    await t.rejects(applied(client, 'stopped', layer, { timeoutMs: 1000 }), { code: 'deadline exceeded' });
    process.kill(back.pid, 'SIGCONT');
    await back.kill();
    const named = { code: 'unavailable', message: /differ far at .*s\/c\.sock/ };
    await t.rejects(applied(client, 'away', layer), named);
    rmSync(back.address, { force: true });
    const nonsense = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.end('HTTP/1.0 200 OK\r\n\r\nhello', () => socket.destroy());
    });
    await new Promise<void>((resolve) => {
      nonsense.listen(back.address, resolve);
    });
    await t.rejects(applied(client, 'nonsense', layer, { timeoutMs: 10_000 }), {
      code: /unavailable|deadline exceeded/,
    });
    await new Promise((resolve) => {
      nonsense.close(resolve);
    });
    rmSync(back.address, { force: true });
    await back.start();
    t.equal(
      await until(
        'the far end to be used again',
        async () => (await applied(client, `again-${Date.now()}`, layer).catch(() => undefined))?.digest,
        patienceMs,
      ),
      layer.digest,
    );
    await daemon.stop();
    await back.stop();
    t.same(leaks(before, [path.join(dir, 'g'), namespace]), [], 'nothing is left on the host');
    removeScratch(dir);
  },
);

t.test('what the far end does not know is done here, by a stream processor', { skip, timeout: 60_000 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const namespace = scratchNamespace('f');
  const back = daemonWith(path.join(dir, 'b'), quiet.slice(4));
  const noted = path.join(dir, 'payload');
  const cipher = ['enc', '-aes-256-ctr', '-pbkdf2', '-pass'];
  const decoder = [
    '[stream_processors.decoder]',
    `accepts = ["${secretType}"]`,
    `returns = "${layerType}+gzip"`,
    'path = "sh"',
    `args = ["-c", "cat <&3 > ${noted}; exec openssl ${cipher.join(' ')} env:PASSWORD -d"]`,
    'env = ["PASSWORD=correct"]',
  ];
  const front = [...proxy('diff', back.address), ...order('far', 'walking'), ...decoder];
  const daemon = daemonWith(path.join(dir, 'g'), front);
  killAtEnd(t, back, daemon);
  await Promise.all([back.start(), daemon.start()]);
  using client = connect({ address: daemon.address, namespace, timeoutMs: patienceMs });
  using behind = connect({ address: back.address, namespace, timeoutMs: patienceMs });
  const plain = tar([{ name: 'f', body: 'content' }]);
  const blob = execFileSync('openssl', [...cipher, 'pass:correct'], { input: gzipSync(plain) });
  const layer = { mediaType: secretType, digest: sha256(blob), size: BigInt(blob.length) };
  for (const each of [client, behind]) {
    await each.content.write([blob], { ref: 'layer', expected: layer.digest, labels: kept });
  }

  await t.rejects(applied(behind, 'x', layer), { code: 'not implemented', message: /no processor for media-type/ });
  const payloads = { decoder: { typeUrl: 'x.Key', value: Buffer.from('key') } };
  const { digest, tree } = await applied(client, 'x', layer, { payloads });
  t.equal(digest, sha256(plain));
  t.equal(readFileSync(path.join(tree, 'f'), 'utf8'), 'content');
  t.match(readFileSync(noted, 'latin1'), /x\.Key.*key/s, 'the caller’s message for the processor has reached it');
  const strange = { ...layer, mediaType: `${layerType}+strange` };
  await t.rejects(applied(client, 'y', strange), { code: 'not implemented' }, 'nobody knows it');

  await daemon.stop();
  await back.stop();
  await cleanEnd(t, before, dir, [dir, namespace]);
});

t.test('sandboxes of a controller in another process', { skip, timeout: 90_000 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const namespace = scratchNamespace('c');
  const back = daemonWith(path.join(dir, 'b'), []);
  const daemon = daemonWith(path.join(dir, 'g'), proxy('sandbox', back.address, 'name = "shim"'));
  killAtEnd(t, back, daemon);
  await daemon.start();
  using client = connect({ address: daemon.address, namespace, timeoutMs: patienceMs });
  type Controller = typeof sandbox.ControllerService;
  const call = <K extends MethodName<Controller>>(
    method: K,
    request: PartialMessage<RequestOf<Controller, K>>,
  ): Promise<ResponseOf<Controller, K>> => {
    const { ControllerService: service } = sandbox;
    return client.transport.unary(service, service.methods[method] as never, request as never);
  };
  const pod = { sandboxer: 'far', sandboxId: 'pod' };
  const record = { sandboxId: 'pod', sandboxer: 'far', runtime: { name: 'io.containerd.gantry.v1' } };
  await t.rejects(call('status', pod), {
    code: 'unavailable',
    message: /sandbox controller far at .*: connect ENOENT/,
  });
  await back.start();
  await until(
    'the connection',
    () =>
      call('create', { ...pod, sandbox: record }).then(
        () => true,
        () => false,
      ),
    patienceMs,
  );
  await t.rejects(call('create', { ...pod, sandbox: record }), { code: 'already exists' });
  const { StoreService: records } = sandbox;
  await client.transport.unary(records, records.methods.create, { sandbox: record });
  const { pid } = await call('start', pod);
  t.match(await call('status', pod), { sandboxId: 'pod', pid, state: 'SANDBOX_READY', address: /^unix:/ });
  t.match(await call('platform', pod), { platform: { os: 'linux' } });
  await t.rejects(call('update', { ...pod, sandbox: record, fields: ['labels'] }), { code: 'not implemented' });
  await t.rejects(call('status', { sandboxer: 'nobody', sandboxId: 'pod' }), { code: 'not found' });

  const rootfs = path.join(dir, 'rootfs');
  mkdirSync(path.join(rootfs, 'bin'), { recursive: true });
  copyFileSync('/bin/busybox', path.join(rootfs, 'bin/busybox'));
  const spec = {
    ociVersion: '1.0.2',
    root: { path: rootfs },
    process: { args: ['/bin/busybox', 'sleep', '1000'], cwd: '/', user: { uid: 0, gid: 0 } },
    mounts: [{ destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] }],
    linux: { cgroupsPath: `/${namespace}/pod`, namespaces: [{ type: 'mount' }, { type: 'pid' }] },
  };
  const container = {
    id: 'pod',
    sandbox: 'pod',
    runtime: { name: 'io.containerd.gantry.v1' },
    spec: {
      typeUrl: 'types.containerd.io/opencontainers/runtime-spec/1/Spec',
      value: Buffer.from(JSON.stringify(spec)),
    },
  };
  const { ContainersService: service } = containers;
  await client.transport.unary(service, service.methods.create, { container });
  await client.tasks.create(tasks.CreateTaskRequest.create({ containerId: 'pod' }));
  const init = await client.tasks.start('pod');
  t.equal(parentOf(init), pid, 'the shim of the sandbox has the task');
  await daemon.kill();
  await daemon.start();
  t.equal((await client.tasks.get('pod')).pid, init, 'and it is found again');
  await client.tasks.kill('pod', 9);
  t.equal((await client.tasks.wait('pod')).exitStatus, 137);
  await client.tasks.delete('pod');
  await client.containers.delete('pod');

  const ended = call('wait', pod);
  await back.kill();
  await back.start();
  await until(
    'the controller to answer',
    () =>
      call('stop', pod).then(
        () => true,
        () => false,
      ),
    patienceMs,
  );
  t.match(
    await ended,
    { exitStatus: 0, exitedAt: {} },
    'whoever waits hears of the end, though the controller was away',
  );
  await call('shutdown', pod);
  await until('the shim to end', () => !existsSync(`/proc/${pid}/stat`), patienceMs);
  await daemon.stop();
  await back.stop();
  await cleanEnd(t, before, dir, [dir, namespace]);
});

t.test('blobs in a stock containerd, which may be away', { skip, timeout: 90_000 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const namespace = scratchNamespace('b');
  const back = stockContainerd(path.join(dir, 's'));
  const daemon = daemonWith(path.join(dir, 'g'), proxy('content', back.address));
  const archive = path.join(dir, 'box.tar');
  writeFileSync(archive, ociArchive());
  killAtEnd(t, back, daemon);
  await daemon.start();
  using client = connect({ address: daemon.address, namespace, timeoutMs: patienceMs });
  const bytes = Buffer.alloc(3_000_000, 'some blob ');
  const digest = sha256(bytes);
  const write = (): Promise<unknown> =>
    client.content.write([bytes], { ref: 'one', expected: digest, sizeBytes: BigInt(bytes.length), labels: kept });
  const away = { code: 'unavailable', message: /content store far at .*s\/c\.sock/ };
  await t.rejects(write(), away, 'started without it');
  t.same(await client.content.statuses(), [], 'nothing was begun');

  await back.start();
  using behind = connect({ address: back.address, namespace, timeoutMs: patienceMs });
  await until(
    'the connection',
    () =>
      write().then(
        () => true,
        () => false,
      ),
    patienceMs,
  );
  t.ok((await client.content.readAll(digest, 4_000_000)).equals(bytes));
  const middle: Uint8Array[] = [];
  for await (const piece of client.content.read(digest, { offset: 1_234_567n, size: 1_111_111n })) middle.push(piece);
  t.ok(Buffer.concat(middle).equals(bytes.subarray(1_234_567, 1_234_567 + 1_111_111)));
  t.equal((await behind.content.info(digest)).size, BigInt(bytes.length));

  t.equal((await ctr(daemon, namespace, ['images', 'import', archive])).code, 0);
  const run = (id: string) => ctr(daemon, namespace, ['run', '--rm', imageName, id, 'echo', id]);
  t.equal((await run('x')).stdout, 'x\n', 'the differ has its blobs from there');
  const count = async (of: Client): Promise<number> => {
    let found = 0;
    for await (const _ of of.content.list()) found += 1;
    return found;
  };
  const sameCount = async (): Promise<boolean> => (await count(behind)) === (await count(client));
  await until('what nobody refers to to be gone from both', sameCount, patienceMs);
  t.ok((await count(behind)) >= 4, 'a manifest, a config, a layer and the one above');
  const files = (): string[] => readdirSync(path.join(daemon.root, 'content'), { recursive: true }).map(String);
  t.same(
    files().filter((file) => /[0-9a-f]{64}/.test(file) && !file.startsWith('ingest')),
    [],
    'no blob is here',
  );

  const theirs = Buffer.from('was there before');
  await behind.content.write([theirs], { ref: 'x', expected: sha256(theirs), labels: kept });
  const unsent = async function* (): AsyncGenerator<Uint8Array> {
    yield theirs;
  };
  await client.content.write(unsent(), {
    ref: 'x',
    expected: sha256(theirs),
    sizeBytes: BigInt(theirs.length),
    labels: kept,
  });
  t.ok((await client.content.readAll(sha256(theirs), 100)).equals(theirs));

  await back.kill();
  await t.rejects(client.content.readAll(digest, 4_000_000), away);
  await daemon.kill();
  await daemon.start();
  t.equal((await client.content.info(digest)).size, BigInt(bytes.length), 'what is known of it is here');
  await back.start();
  await until(
    'the connection',
    () =>
      client.content.readAll(digest, 4_000_000).then(
        () => true,
        () => false,
      ),
    patienceMs,
  );
  t.equal((await run('y')).stdout, 'y\n');

  await stopped(back.pid);
  await t.rejects(client.content.readAll(digest, 4_000_000, { timeoutMs: 1000 }), { code: 'deadline exceeded' });
  process.kill(back.pid, 'SIGCONT');
  await client.content.delete(digest);
  await client.content.delete(sha256(theirs));
  t.equal((await ctr(daemon, namespace, ['images', 'rm', '--sync', imageName])).code, 0);
  await until('garbage to go from there', async () => (await count(behind)) === 1, patienceMs);
  t.equal((await behind.content.info(sha256(theirs))).size, BigInt(theirs.length), 'what was there before stays');
  await daemon.stop();
  await back.stop();
  await cleanEnd(t, before, dir, [path.join(dir, 'g'), namespace]);
});

t.test('a differ elsewhere that has its blobs from here', { skip, timeout: 60_000 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const namespace = scratchNamespace('w');
  const address = path.join(dir, 'g', 'g.sock');
  const worker = daemonWith(path.join(dir, 'b'), proxy('content', address));
  const daemon = daemonWith(path.join(dir, 'g'), [...proxy('diff', worker.address), ...order('far')]);
  const archive = path.join(dir, 'box.tar');
  writeFileSync(archive, ociArchive());
  killAtEnd(t, worker, daemon);
  await Promise.all([worker.start(), daemon.start()]);
  using client = connect({ address: daemon.address, namespace, timeoutMs: patienceMs });
  using behind = connect({ address: worker.address, namespace, timeoutMs: patienceMs });
  const bytes = tar([{ name: 'f', body: 'content' }]);
  const layer = { mediaType: layerType, digest: sha256(bytes), size: BigInt(bytes.length) };
  await client.content.write([bytes], { ref: 'layer', expected: layer.digest, labels: kept });
  await behind.content.write([bytes], { ref: 'layer', expected: layer.digest, labels: kept });
  const { digest, tree } = await applied(client, 'here', layer);
  t.equal(digest, layer.digest);
  t.equal(readFileSync(path.join(tree, 'f'), 'utf8'), 'content');
  await worker.stop();
  await daemon.stop();
  await cleanEnd(t, before, dir, [dir, namespace]);
});
