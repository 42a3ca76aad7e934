import t from 'tap';
import { notFound } from '@gantry/errors';
import type { Mount } from '@gantry/snapshots';
import { mountsFor, rootfsOf } from './old-clients.ts';

const maps = ['uidmap=0:100000:65536', 'gidmap=0:100000:65536'];
const plain: Mount = { type: 'overlay', source: 'overlay', options: ['index=off', 'upperdir=/u', 'lowerdir=/l'] };
const mapped: Mount = { ...plain, options: [...maps, ...plain.options] };
const container = { snapshotter: 'overlayfs', snapshotKey: 'k' };
const snapshots = { mounts: async (): Promise<Mount[]> => Promise.resolve([mapped]) };

const old = ['grpc-go/1.33.3', 'containerd/1.6 grpc-go/1.50.1'];
const knowing = ['grpc-go/1.53.0', 'grpc-go/1.72.2', 'grpc-node-js/1.14.7', 'grpc-python/1.30.0', undefined];

t.test('clients from before id maps get mounts that the kernel takes, others what they are', (t) => {
  for (const userAgent of old) t.same(mountsFor({ userAgent }, [mapped]), [plain], userAgent);
  for (const userAgent of knowing) t.same(mountsFor({ userAgent }, [mapped]), [mapped], userAgent ?? 'nothing said');
  t.end();
});

t.test('what such a client runs on is mapped when it is the whole snapshot, and nothing else is', async (t) => {
  const asked = (userAgent: string, rootfs: readonly Mount[], from = snapshots, of = container): Promise<unknown> =>
    rootfsOf(
      { userAgent, namespace: 'ns' },
      from,
      of,
      rootfs.map((mount) => ({ target: '', ...mount, options: [...mount.options] })),
    );
  const wire = (mount: Mount): unknown => [{ target: '', ...mount }];
  t.same(await asked('grpc-go/1.33.3', [plain]), wire(mapped));
  t.same(await asked('grpc-go/1.72.2', [plain]), wire(plain), 'a client that knows means what it says');
  const other = { ...plain, options: ['upperdir=/other', 'lowerdir=/l'] };
  t.same(await asked('grpc-go/1.33.3', [other]), wire(other), 'mounts of something else');
  const two = await asked('grpc-go/1.33.3', [plain, plain]);
  t.equal(Array.isArray(two) && two.length, 2, 'more than the snapshot');
  t.same(await asked('grpc-go/1.33.3', []), []);
  const gone = { mounts: async (): Promise<Mount[]> => Promise.reject(notFound('snapshot k')) };
  t.same(await asked('grpc-go/1.33.3', [plain], gone), wire(plain), 'its snapshot is gone');
  t.same(await asked('grpc-go/1.33.3', [plain], snapshots, { ...container, snapshotKey: '' }), wire(plain));
});
