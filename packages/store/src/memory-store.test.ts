import t from 'tap';
import { memoryStore } from './memory-store.ts';
import { storeSuite } from './testing/store-suite.ts';

storeSuite(t, 'memory', async () => Promise.resolve(memoryStore()));

t.test('backup of a store in memory is not implemented', async (t) => {
  await t.rejects(memoryStore().backup('/nowhere'), { code: 'not implemented' });
});
