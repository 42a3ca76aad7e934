/**
 * gantryd, or its differ, dies or fails at every failpoint of work with images: transfers, blobs, layers, snapshots, garbage. What
 * was acknowledged before is whole, the same call succeeds afterwards, and nothing is left.
 */
import t from 'tap';
import { messageOf } from '@gantry/errors';
import { registryBoxMissing, until } from '../index.ts';
import { ImageWorld } from './image-work.ts';
import type { Work } from './image-work.ts';

/** The failpoints of each kind of work (image-work.ts), in the order in which it passes them. */
const points: Readonly<Record<string, readonly string[]>> = {
  pull: [
    'content.commit.after-sync',
    'content.commit.after-publish',
    'content.commit.after-record',
    'snapshot.prepare.after-tree',
    'snapshot.commit.after-freeze',
    'snapshot.commit.after-record',
    'transfer.pull.after-content',
    'transfer.pull.after-record',
  ],
  'import by the server': [
    'transfer.import.after-content',
    'transfer.import.after-unpack',
    'transfer.import.after-record',
  ],
  unpack: ['diff.apply.after-differ'],
  commit: ['diff.compare.after-differ', 'diff.compare.after-commit'],
  push: ['push.after-blobs', 'transfer.push.after-manifest'],
  removal: ['gc.after-records'],
  garbage: ['gc.after-trees'],
  snapshots: ['snapshot.remove.after-record'],
};

/** Of the differ's worker: when it dies gantryd lives, and says so. */
const workerPoints: Readonly<Record<string, readonly string[]>> = {
  unpack: ['differ.apply.before', 'differ.apply.after'],
  commit: ['differ.compare.before', 'differ.compare.after'],
};

type Checks = Pick<typeof t, 'same'>;

t.setTimeout(350_000);
t.test('failpoints of images', { skip: registryBoxMissing, timeout: 340_000 }, async (t) => {
  const world = new ImageWorld({ seed: 1, snapshotter: 'overlayfs' });
  await world.start();
  const whole = async (test: Checks, where: string): Promise<void> => {
    test.same(await world.stored.spoiltBlobs(), [], `every blob is what it says: ${where}`);
    test.same(await world.lacking(), [], `nothing is missing: ${where}`);
  };
  const clean = async (test: Checks): Promise<void> => {
    const names = (await world.box.client.images.list()).map(({ name }) => name);
    test.same(names, [...world.there.keys()].toSorted());
    test.same(await world.stored.leftOver(), [], 'nothing is left over');
    test.same(await world.lacking(), [], 'nothing is missing after garbage');
  };
  const begun = async (kind: string): Promise<Work> => {
    const work = world.kinds[kind]?.();
    if (work === undefined) throw new Error(`no kind ${kind}`);
    await work.begin?.();
    return work;
  };

  for (const [kind, names] of Object.entries(points)) {
    await t.test(`${kind}: gantryd is killed at ${names.join(', ')}`, async (t) => {
      const work = await begun(kind);
      for (const name of names) {
        // The one that died at the point before is gone already.
        await world.box.restart('kill', { GANTRY_FAILPOINTS: `${name}=kill` });
        await t.rejects(work.run(), `it dies at ${name}`);
        await until(`gantryd to die at ${name}`, () => world.box.daemon.hasEnded, 60_000);
      }
      await world.box.restart('kill');
      await whole(t, names.join(', '));
      await work.run();
      await work.done();
      await clean(t);
    });

    await t.test(`${kind}: it fails at ${names.join(', ')}`, async (t) => {
      const work = await begun(kind);
      const terms = names.map((name) => `${name}=1*error(${name} is tired)`);
      await world.box.restart('stop', { GANTRY_FAILPOINTS: terms.join(';') });
      const said: string[] = [];
      // Points that are passed at the same time fail the same attempt.
      while (
        said.length <= names.length &&
        (await work.run().then(
          () => false,
          (err: unknown) => said.push(messageOf(err)),
        ))
      ) {
        t.same(await world.stored.spoiltBlobs(), [], said.at(-1) ?? '');
      }
      t.ok(said.length <= names.length, `it succeeds in the end: ${said.join('; ')}`);
      // The answer to a removal does not speak of what becomes of the files, which go at the next collection.
      if (kind !== 'removal' && kind !== 'garbage') t.match(said[0], / is tired/);
      t.same(
        said.filter((text) => !text.includes(' is tired')),
        [],
        'an error says what it is',
      );
      await work.done();
      await clean(t);
    });
  }

  for (const [kind, names] of Object.entries(workerPoints)) {
    await t.test(`${kind}: the differ’s worker is killed at ${names.join(', ')}`, async (t) => {
      const work = await begun(kind);
      for (const name of names) {
        await world.box.restart('stop', { GANTRY_FAILPOINTS: `${name}=1*kill` });
        const { pid } = world.box.daemon;
        await t.rejects(work.run(), { code: 'unavailable' }, name);
        t.equal(world.box.daemon.pid, pid);
        await whole(t, name);
      }
      await world.box.restart('stop');
      await work.run();
      await work.done();
      await clean(t);
    });
  }
  await world.box.end(t);
});
