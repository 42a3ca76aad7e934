import t from 'tap';
import { memoryStore } from './memory-store.ts';
import { addLeaseResource, claimSchema, keys, leaseResourceTypes, removeLeaseResource } from './schema.ts';

t.test('key builders with fewer arguments give the prefix', (t) => {
  t.same(keys.images('default', 'busybox'), ['images', 'default', 'busybox']);
  t.same(keys.images('default'), ['images', 'default']);
  t.same(keys.images(), ['images']);
  t.end();
});

t.test('a resource is held by an existing lease only', async (t) => {
  const store = memoryStore();
  await store.transact((tx) => tx.put(keys.leases('default', 'l1'), Buffer.from('{}')));
  await store.transact((tx) => {
    addLeaseResource(tx, 'default', 'l1', leaseResourceTypes.snapshots('overlayfs'), 'key');
    addLeaseResource(tx, 'default', undefined, leaseResourceTypes.content, 'x');
    addLeaseResource(tx, 'default', '', leaseResourceTypes.content, 'x');
  });
  const held = [...store.scan(keys.leaseResources('default', 'l1'))].map(({ key }) => key.slice(3));
  t.same(held, [['snapshots/overlayfs', 'key']]);
  const missing = store.transact((tx) => addLeaseResource(tx, 'default', 'l2', leaseResourceTypes.content, 'x'));
  await t.rejects(missing, { code: 'not found', message: 'lease does not exist' });
  await store.transact((tx) => {
    removeLeaseResource(tx, 'default', 'l1', leaseResourceTypes.snapshots('overlayfs'), 'key');
    removeLeaseResource(tx, 'default', 'l2', leaseResourceTypes.content, 'x');
  });
  t.same([...store.scan(keys.leaseResources())], []);
});

t.test('a store of another layout is refused', async (t) => {
  const store = memoryStore();
  await claimSchema(store);
  await claimSchema(store);
  await store.transact((tx) => tx.put(['schema', 'version'], Buffer.from('99')));
  await t.rejects(claimSchema(store), { code: 'failed precondition' });
});
