/**
 * Tasks.Checkpoint and Tasks.Create from a checkpoint where criu fails and where the archive is hostile: an error that says
 * what is wrong, a container that runs on, and nothing written anywhere but into the checkpoint's own directory. Needs no
 * working criu; what succeeds is shown in test/src/vm/checkpoint.test.ts.
 */
import t from 'tap';
import { existsSync, lstatSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { content, packAny, runcOptions, tasks } from '@gantry/api';
import { ApiBox, grpcStatus, missing, outcome, Rpc, sha256, tar } from '../index.ts';
import type { Outcome, TarEntry } from '../index.ts';

const skip = missing('busybox') ?? false;
const unknown = 2;
const invalidArgument = 3;
const [created, running] = [1, 2];
const checkpointType = 'application/vnd.containerd.container.criu.checkpoint.criu.tar';

t.setTimeout(240_000);

/** A gantryd whose criu fails, saying which of its verbs it was asked for. */
class Place {
  readonly box = new ApiBox();
  readonly programs = path.join(this.box.dir, 'programs');
  readonly env = { PATH: `${this.programs}:${process.env['PATH'] ?? ''}` };
  #rpc: Rpc | undefined;

  async start(): Promise<void> {
    mkdirSync(this.programs);
    const script = '#!/bin/sh\necho "Error (criu/$1.c:7): not on this machine" >&2\nexit 1\n';
    writeFileSync(path.join(this.programs, 'criu'), script, { mode: 0o755 });
    await this.box.start(this.env);
    this.#rpc = new Rpc(this.box.daemon.address);
  }

  async restart(): Promise<void> {
    this.close();
    await this.box.restart(this.env);
    this.#rpc = new Rpc(this.box.daemon.address);
  }

  close(): void {
    this.#rpc?.close();
  }

  /** The directories of checkpoints that are there. */
  directories(): string[] {
    const dir = path.join(this.box.daemon.root, 'checkpoints');
    return existsSync(dir) ? readdirSync(dir) : [];
  }

  get rpc(): Rpc {
    if (this.#rpc === undefined) throw new Error('gantryd was not started');
    return this.#rpc;
  }

  get header(): { readonly namespace: string; readonly timeoutMs: number } {
    return { namespace: this.box.namespace, timeoutMs: 60_000 };
  }

  checkpoint(options?: Parameters<typeof tasks.CheckpointTaskRequest.create>[0]): Promise<Outcome> {
    const request = tasks.CheckpointTaskRequest.create({ containerId: 'one', ...options });
    return outcome(this.rpc.call(tasks.TasksService, 'checkpoint', request, this.header));
  }

  /** Stores the bytes; resolves to their descriptor. */
  async store(bytes: Buffer): Promise<{ mediaType: string; digest: string; size: bigint }> {
    const digest = sha256(bytes);
    const { WriteAction, WriteContentRequest } = content;
    const write = WriteContentRequest.create({ action: WriteAction.WRITE, ref: digest, data: bytes });
    // Nobody else holds it, and the garbage collector works meanwhile.
    const labels = { 'containerd.io/gc.root': 'yes' };
    const commit = WriteContentRequest.create({ action: WriteAction.COMMIT, ref: digest, expected: digest, labels });
    await this.rpc.converse(
      content.ContentService,
      'write',
      [write, { ...commit, offset: BigInt(bytes.length) }],
      this.header,
    );
    return { mediaType: checkpointType, digest, size: BigInt(bytes.length) };
  }

  create(checkpoint: { mediaType: string; digest: string; size: bigint }): Promise<Outcome> {
    const request = tasks.CreateTaskRequest.create({
      containerId: 'one',
      checkpoint: { ...checkpoint, annotations: {} },
    });
    return outcome(this.rpc.call(tasks.TasksService, 'create', request, this.header));
  }

  startTask(): Promise<Outcome> {
    return outcome(
      this.rpc.call(tasks.TasksService, 'start', tasks.StartRequest.create({ containerId: 'one' }), this.header),
    );
  }

  async status(): Promise<number | undefined> {
    return (await this.box.tasks()).get('one');
  }
}

t.test('checkpoints that cannot be', { skip, timeout: 230_000 }, async (t) => {
  const place = new Place();
  const { box } = place;
  await place.start();
  t.teardown(() => place.close());

  await t.test('a criu that fails is quoted, and the task runs on', async (t) => {
    t.equal((await place.checkpoint()).code, grpcStatus.notFound, 'no container');
    await box.make('one');
    t.equal((await place.checkpoint()).code, grpcStatus.notFound, 'no task');
    await box.create('one');
    t.match(await place.checkpoint(), { code: unknown, message: /cannot checkpoint a task in created state/ });
    await box.startTask('one');
    const failed = await place.checkpoint();
    t.equal(failed.code, unknown);
    t.match(failed.message, /criu failed: exit status 1: Error \(criu\/swrk\.c:7\): not on this machine/);
    t.equal(await place.status(), running);
    t.equal(await box.exec('one', 'e', ['true']), 0, 'it is not frozen');
    t.same(place.directories(), [], 'no directory is left');
    const blobs = await place.rpc.collect(
      content.ContentService,
      'list',
      content.ListContentRequest.create({}),
      place.header,
    );
    t.same(blobs, [], 'nothing is in the content store');
  });

  await t.test('options are checked', async (t) => {
    const options = (fields: NonNullable<Parameters<typeof runcOptions.CheckpointOptions.create>[0]>) => ({
      options: packAny(runcOptions.CheckpointOptions, fields),
    });
    const cases: readonly (readonly [object, RegExp])[] = [
      [options({ imagePath: 'relative' }), /"relative": not an absolute path/],
      [options({ workPath: 'relative' }), /"relative": not an absolute path/],
      [options({ emptyNamespaces: ['mount'] }), /empty_namespaces: "mount" is not supported/],
      [options({ cgroupsMode: 'odd' }), /cgroups_mode: "odd"/],
      [{ options: packAny(runcOptions.Options, {}) }, /checkpoint options of type containerd\.runc\.v1\.Options/],
    ];
    for (const [fields, words] of cases) {
      const refused = await place.checkpoint(fields);
      t.equal(refused.code, invalidArgument, String(words));
      t.match(refused.message, words);
    }
    const images = path.join(box.dir, 'images');
    t.match((await place.checkpoint(options({ imagePath: images }))).message, /not on this machine/);
    t.ok(existsSync(path.join(images, 'descriptors.json')), 'a directory that the options name is the caller’s');
    t.equal(await place.status(), running);
    t.same(place.directories(), []);
    await box.remove('one');
  });

  await t.test('an archive that is not that of a checkpoint is refused, and writes nothing anywhere', async (t) => {
    await box.make('one');
    const outside = path.join(box.dir, 'outside');
    const good: TarEntry = { name: 'inventory.img', body: 'x' };
    const cases: readonly (readonly [string, Buffer, RegExp])[] = [
      [
        'a symlink',
        tar([
          { name: 'a', type: 'symlink', body: box.dir },
          { name: 'a/outside', body: 'x' },
        ]),
        /symlink/,
      ],
      ['a hard link', tar([{ name: 'a', type: 'hardlink', body: '/etc/passwd' }]), /hardlink/],
      ['a device', tar([{ name: 'a', type: 'character' }]), /character/],
      ['a fifo', tar([{ name: 'a', type: 'fifo' }]), /fifo/],
      ['a directory', tar([{ name: 'a/', type: 'directory' }]), /directory/],
      ['a way up', tar([{ name: '../outside', body: 'x' }]), /no name of a file/],
      ['another way up', tar([{ name: './../outside', body: 'x' }]), /no name of a file/],
      ['the directory above', tar([{ name: '..', body: 'x' }]), /no name of a file/],
      ['an absolute path', tar([{ name: outside, body: 'x' }]), /no name of a file/],
      ['a deep path', tar([{ name: 'a/b', body: 'x' }]), /no name of a file/],
      ['a name twice', tar([good, { name: './inventory.img', body: 'y' }]), /is there twice/],
      ['half an archive', tar([{ name: 'a', body: 'x'.repeat(5000) }]).subarray(0, 2000), /./],
      ['no archive', Buffer.from('x'.repeat(1024)), /./],
    ];
    for (const [what, bytes, words] of cases) {
      const refused = await place.create(await place.store(bytes));
      t.not(refused.code, 0, what);
      t.match(refused.message, words, what);
      t.match(refused.message, /unpacking the checkpoint sha256:/, what);
    }
    t.notOk(existsSync(outside), 'nothing outside');
    t.same(place.directories(), [], 'no directory is left');
    t.equal(await place.status(), undefined, 'there is no task');
    const stored = await place.store(tar([good]));
    t.match(await place.create({ ...stored, mediaType: 'x/y' }), {
      code: unknown,
      message: /unsupported checkpoint type "x\/y"/,
    });
    t.equal((await place.create({ ...stored, digest: sha256('absent') })).code, grpcStatus.notFound);
    t.same(place.directories(), []);
  });

  await t.test('a restore that fails can be tried again, and goes with its task', async (t) => {
    const archive = tar([
      { name: './', type: 'directory' },
      { name: 'descriptors.json', body: '["/dev/null","/dev/null","/dev/null"]', mode: 0o4777 },
      { name: 'inventory.img', body: 'x' },
    ]);
    t.same(await place.create(await place.store(archive)), { code: 0, message: '' });
    const [directory = '', ...others] = place.directories();
    t.same(others, [], 'one directory');
    const file = path.join(box.daemon.root, 'checkpoints', directory, 'descriptors.json');
    t.equal(lstatSync(file).mode & 0o7777, 0o600, 'the archive’s modes are not taken');
    t.equal(await place.status(), created);
    t.match(await place.startTask(), {
      code: unknown,
      message: /restore failed: criu failed: exit status 1: .*not on this machine/,
    });
    await place.restart();
    t.equal(await place.status(), created, 'gantryd started again knows it');
    t.equal(place.directories().length, 1);
    t.match(await place.startTask(), { message: /not on this machine/ });
    t.same(await outcome(box.deleteTask('one')), { code: 0, message: '' });
    t.same(place.directories(), [], 'it went with the task');
    await box.deleteContainer('one');
  });
  await box.end(t);
});
