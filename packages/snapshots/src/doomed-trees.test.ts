import t from 'tap';
import { DoomedTrees } from './doomed-trees.ts';
import type { Snapshotter } from './snapshotter.ts';

/** A snapshotter of which nothing is asked but to remove; `tired` trees stay. */
function remover(tired: Set<string>, removed: string[]): Snapshotter {
  const { remove }: Pick<Snapshotter, 'remove'> = {
    remove: async (id) => {
      if (tired.has(id)) throw new Error(`EIO: ${id}`);
      removed.push(id);
    },
  };
  return { name: 'remover', remove } as Snapshotter;
}

t.test('a tree that could not be removed is tried again, and then no more', async (t) => {
  const tired = new Set(['1']);
  const removed: string[] = [];
  const backend = remover(tired, removed);
  const doomed = new DoomedTrees(() => undefined);
  doomed.add(backend, '2');
  await t.rejects(doomed.remove(backend, '1'), { message: 'EIO: 1' });
  t.match(await doomed.removeAll(), [{ message: 'EIO: 1' }], 'the others go all the same');
  t.same(removed, ['2']);
  tired.clear();
  t.same(await doomed.removeAll(), []);
  t.same(removed, ['2', '1']);
  await doomed.removeAll();
  t.same(removed, ['2', '1']);
});
