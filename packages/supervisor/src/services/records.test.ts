import t from 'tap';
import { typeUrls } from '@gantry/api';
import { isCode } from '@gantry/errors';
import { keys, memoryStore } from '@gantry/store';
import type { Store } from '@gantry/store';
import type { Publisher } from '../events/exchange.ts';
import { ImageRecords } from '../images/image-records.ts';
import type { Binding } from '../rpc/handlers.ts';
import { containersService } from './containers.ts';
import { imagesService } from './images.ts';
import { invoke } from './invoke-for-test.ts';
import { leasesService } from './leases.ts';
import { namespacesService } from './namespaces.ts';

const digest = `sha256:${'a'.repeat(64)}`;
const target = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest, size: 3n };
const spec = { typeUrl: typeUrls.spec, value: Buffer.from('{"ociVersion": "1.0"}') };
const container = { id: 'c1', runtime: { name: 'io.containerd.runc.v2' }, spec };

interface Fixture {
  readonly store: Store;
  /** What was published: `<namespace><topic>`. */
  readonly topics: string[];
  readonly collections: string[];
  readonly containers: Binding;
  readonly images: Binding;
  readonly leases: Binding;
  readonly namespaces: Binding;
}

function fixture(): Fixture {
  const store = memoryStore();
  const topics: string[] = [];
  const events: Publisher = { publish: (namespace, topic) => void topics.push(namespace + topic) };
  const collections: string[] = [];
  const stats = { objects: 0, content: 0, snapshots: 0, images: 0, leases: 0, ingests: 0, blobs: 0 };
  const gc = {
    schedule: () => void collections.push('schedule'),
    run: () => {
      collections.push('run');
      return Promise.resolve({ ...stats, errors: 0, durationMs: 0 });
    },
  };
  return {
    store,
    topics,
    collections,
    containers: containersService({ store, events, gc }),
    images: imagesService({ records: new ImageRecords({ store, events, gc }) }),
    leases: leasesService({ store, gc }),
    namespaces: namespacesService({ store, events }),
  };
}

t.test('a container is kept as it was sent, with the times of the server', async (t) => {
  const { containers, topics } = fixture();
  const labels = { a: '1', empty: '' };
  const created = await invoke(containers, 'create', { container: { ...container, labels } });
  t.match(created, { container: { id: 'c1', labels: { a: '1' }, createdAt: { nanos: Number } } });
  const got = await invoke(containers, 'get', { id: 'c1' });
  t.match(got, { container: { id: 'c1', runtime: container.runtime } });
  const { container: stored } = got as { container: { spec: { value: Uint8Array }; labels: object } };
  t.same(Buffer.from(stored.spec.value), spec.value, 'byte for byte');
  t.same(Object.keys(stored.labels), ['a'], 'an empty label is none');
  await t.rejects(invoke(containers, 'create', { container }), {
    code: 'already exists',
    message: 'container "c1"',
  });
  t.match(await invoke(containers, 'list', { filters: ['labels.a==1'] }), { containers: [{ id: 'c1' }] });
  t.same(await invoke(containers, 'list', { filters: ['labels.a==2'] }), { containers: [] });
  t.same(await invoke(containers, 'list', {}, { namespace: 'other' }), { containers: [] });
  await invoke(containers, 'delete', { id: 'c1' });
  await t.rejects(invoke(containers, 'get', { id: 'c1' }), {
    code: 'not found',
    message: 'container "c1" in namespace "ns"',
  });
  await t.rejects(invoke(containers, 'delete', { id: 'c1' }), {
    code: 'not found',
    message: 'cannot delete container "c1" in namespace "ns"',
  });
  t.same(topics, ['ns/containers/create', 'ns/containers/delete']);
});

t.test('a container that is not complete is refused', async (t) => {
  const { containers, topics } = fixture();
  const refused: readonly (readonly [object, string])[] = [
    [{ ...container, id: '' }, 'container.ID: identifier must not be empty'],
    [{ ...container, runtime: undefined }, 'container.Runtime.Name must be set'],
    [{ ...container, spec: undefined }, 'container.Spec must be set'],
    [{ ...container, snapshotKey: 'k' }, 'container.Snapshotter must be set if container.SnapshotKey is set'],
    [{ ...container, extensions: { '': spec } }, 'container.Extension keys must not be zero-length'],
  ];
  for (const [unsafeContainer, reason] of refused) {
    await t.rejects(invoke(containers, 'create', { container: unsafeContainer }), {
      code: 'invalid argument',
      message: `create container failed validation: ${reason}`,
    });
  }
  await t.rejects(invoke(containers, 'create', { container }, {}), {
    code: 'failed precondition',
    message: 'namespace is required',
  });
  t.same(topics, []);
});

t.test('an update changes what the mask names, and without one everything that may change', async (t) => {
  const { containers, topics } = fixture();
  await invoke(containers, 'create', { container: { ...container, labels: { a: '1', b: '2' } } });
  const masked = { container: { id: 'c1', labels: { a: '3' }, image: 'x' }, updateMask: { paths: ['labels.a'] } };
  t.match(await invoke(containers, 'update', masked), { container: { labels: { a: '3', b: '2' }, image: '' } });
  const all = { container: { ...container, labels: { c: '4' }, image: 'y' } };
  t.strictSame(Object.keys(labelsOf(await invoke(containers, 'update', all))), ['c']);
  const wrong: readonly (readonly [object, string])[] = [
    [{ container: { ...container, snapshotter: 's' } }, 'container.Snapshotter field is immutable'],
    [{ container: { ...container, runtime: { name: 'r' } } }, 'container.Runtime.Name field is immutable'],
    [{ container, updateMask: { paths: ['runtime'] } }, 'cannot update "runtime" field on "c1"'],
    [
      { container: { id: 'c1' }, updateMask: { paths: ['spec'] } },
      'update failed validation: container.Spec must be set',
    ],
    [{ container: { id: '' } }, 'Container.ID required'],
  ];
  for (const [request, message] of wrong) {
    await t.rejects(invoke(containers, 'update', { ...request }), { code: 'invalid argument', message });
  }
  await t.rejects(invoke(containers, 'update', { container: { ...container, id: 'no' } }), {
    code: 'not found',
    message: 'container "no"',
  });
  t.same(topics, ['ns/containers/create', 'ns/containers/update', 'ns/containers/update']);
});

t.test('an image is a name for a target; deleting it in sync waits for a collection', async (t) => {
  const { images, topics, collections } = fixture();
  await invoke(images, 'create', { image: { name: 'i', target: { ...target, annotations: { a: '1' } } } });
  await t.rejects(invoke(images, 'create', { image: { name: 'i', target } }), { code: 'already exists' });
  const annotated = {
    image: { name: 'i', target: { annotations: { b: '2' } } },
    updateMask: { paths: ['annotations.b'] },
  };
  t.match(await invoke(images, 'update', annotated), {
    image: { target: { digest, annotations: { a: '1', b: '2' } } },
  });
  t.match(await invoke(images, 'list', { filters: [`target.digest==${digest}`] }), { images: [{ name: 'i' }] });
  const other = `sha256:${'b'.repeat(64)}`;
  await t.rejects(invoke(images, 'delete', { name: 'i', target: { ...target, digest: other } }), { code: 'not found' });
  await invoke(images, 'delete', { name: 'i', target, sync: true });
  await t.rejects(invoke(images, 'get', { name: 'i' }), { code: 'not found', message: 'image "i"' });
  t.same(topics, ['ns/images/create', 'ns/images/update', 'ns/images/delete']);
  t.same(collections.at(-1), 'run');
  for (const [change, message] of [
    [{ digest: 'x' }, 'Target.Digest "x" invalid: invalid checksum digest format'],
    [{ size: 0n }, 'Target.Size must be greater than zero'],
    [{ mediaType: '' }, 'Target.MediaType must be set'],
  ] as const) {
    const image = { name: 'i', target: { ...target, ...change } };
    await t.rejects(invoke(images, 'create', { image }), { code: 'invalid argument', message });
  }
});

t.test('a date for reproducible images is taken from the request', async (t) => {
  const { images } = fixture();
  const sourceDateEpoch = { seconds: 1n, nanos: 0 };
  const created = await invoke(images, 'create', { image: { name: 'i', target }, sourceDateEpoch });
  t.match(created, { image: { createdAt: sourceDateEpoch, updatedAt: sourceDateEpoch } });
});

t.test('an image that expires is held by the lease of its request', async (t) => {
  const { store, images, leases } = fixture();
  await invoke(leases, 'create', { id: 'l' });
  const labels = { 'containerd.io/gc.expire': '2020-01-01T00:00:00Z' };
  await invoke(images, 'create', { image: { name: 'e', target, labels } }, { namespace: 'ns', lease: 'l' });
  await invoke(images, 'create', { image: { name: 'r', target } }, { namespace: 'ns', lease: 'l' });
  t.same(
    [...store.scan(keys.leaseResources('ns'))].map(({ key }) => key.slice(2)),
    [['l', 'images', 'e']],
  );
  const unknown = { namespace: 'ns', lease: 'no' };
  await t.rejects(invoke(images, 'create', { image: { name: 'e2', target, labels } }, unknown), {
    code: 'not found',
    message: 'lease does not exist',
  });
  await t.rejects(invoke(images, 'get', { name: 'e2' }), { code: 'not found' }, 'nothing was created');
});

t.test('a lease lists what it holds and takes the list with it', async (t) => {
  const { store, leases, collections } = fixture();
  t.match(await invoke(leases, 'create', { id: 'l', labels: { a: '1' } }), { lease: { id: 'l', labels: { a: '1' } } });
  await t.rejects(invoke(leases, 'create', { id: 'l' }), { code: 'already exists', message: 'lease "l"' });
  t.match(await invoke(leases, 'create', {}), { lease: { id: /^\d+-[\w-]{4}$/ } });
  for (const resource of [
    { type: 'content', id: digest },
    { type: 'snapshots/overlayfs', id: 'k/with/slashes' },
  ]) {
    await invoke(leases, 'addResource', { id: 'l', resource });
  }
  await invoke(leases, 'deleteResource', { id: 'l', resource: { type: 'ingests', id: 'never added' } });
  t.same(await invoke(leases, 'listResources', { id: 'l' }), {
    resources: [
      { type: 'content', id: digest },
      { type: 'snapshots/overlayfs', id: 'k/with/slashes' },
    ],
  });
  t.match(await invoke(leases, 'list', { filters: ['labels.a==1'] }), { leases: [{ id: 'l' }] });
  await invoke(leases, 'delete', { id: 'l' });
  t.same(collections.at(-1), 'schedule');
  t.same([...store.scan(keys.leaseResources('ns'))], []);
  await t.rejects(invoke(leases, 'listResources', { id: 'l' }), { code: 'not found', message: 'lease "l"' });
});

t.test('a lease refuses resources that it cannot hold', async (t) => {
  const { leases } = fixture();
  await invoke(leases, 'create', { id: 'l' });
  for (const [type, id, code] of [
    ['content', 'x', 'invalid argument'],
    ['content/x', digest, 'invalid argument'],
    ['ingests', '', 'invalid argument'],
    ['snapshots', 'k', 'invalid argument'],
    ['snapshots/a/b', 'k', 'invalid argument'],
    ['volumes', 'v', 'not implemented'],
  ] as const) {
    await t.rejects(invoke(leases, 'addResource', { id: 'l', resource: { type, id } }), { code }, type);
  }
  await t.rejects(invoke(leases, 'addResource', { id: 'no', resource: { type: 'ingests', id: 'r' } }), {
    code: 'not found',
  });
});

t.test('namespaces come to be by use and go when they are empty', async (t) => {
  const { namespaces, containers, topics } = fixture();
  const names = async (): Promise<unknown> => {
    const { namespaces: list } = (await invoke(namespaces, 'list', {})) as { namespaces: { name: string }[] };
    return list.map(({ name }) => name);
  };
  t.same(await invoke(namespaces, 'get', { name: 'zz' }, {}), { namespace: { name: 'zz', labels: {} } });
  t.same(await names(), []);
  await invoke(containers, 'create', { container }, { namespace: 'used' });
  await invoke(namespaces, 'create', { namespace: { name: 'made', labels: { a: '1' } } }, {});
  t.same(await names(), ['made', 'used']);
  await t.rejects(invoke(namespaces, 'create', { namespace: { name: 'used' } }), { code: 'already exists' });
  await t.rejects(invoke(namespaces, 'delete', { name: 'used' }), {
    code: 'failed precondition',
    message: 'namespace "used" must be empty, but it still has containers',
  });
  await invoke(containers, 'delete', { id: 'c1' }, { namespace: 'used' });
  t.same(await names(), ['made', 'used'], 'it stays without what made it');
  await invoke(namespaces, 'delete', { name: 'used' });
  await t.rejects(invoke(namespaces, 'delete', { name: 'used' }), { code: 'not found', message: 'namespace "used"' });
  t.same(
    topics.filter((topic) => topic.includes('/namespaces/')),
    ['made/namespaces/create', 'used/namespaces/delete'],
  );
});

t.test('labels of a namespace are updated one by one or all at once', async (t) => {
  const { namespaces } = fixture();
  await invoke(namespaces, 'create', { namespace: { name: 'n', labels: { a: '1' } } });
  const one = { namespace: { name: 'n', labels: { b: '2' } }, updateMask: { paths: ['labels.b'] } };
  t.match(await invoke(namespaces, 'update', one), { namespace: { labels: { a: '1', b: '2' } } });
  await invoke(namespaces, 'update', { namespace: { name: 'n', labels: { c: '3' } } });
  t.match(await invoke(namespaces, 'get', { name: 'n' }), { namespace: { labels: { a: undefined, c: '3' } } });
  await t.rejects(invoke(namespaces, 'update', { namespace: { name: 'n' }, updateMask: { paths: ['labels'] } }), {
    code: 'invalid argument',
    message: 'cannot update "labels" field',
  });
});

t.test('no method on records works without a namespace', async (t) => {
  const { containers, images, leases } = fixture();
  const methods: readonly (readonly [Binding, string])[] = [
    [containers, 'get'],
    [containers, 'list'],
    [containers, 'delete'],
    [images, 'get'],
    [images, 'list'],
    [images, 'delete'],
    [leases, 'create'],
    [leases, 'list'],
    [leases, 'listResources'],
  ];
  for (const [binding, name] of methods) {
    const failure = await invoke(binding, name, {}, {}).catch((err: unknown) => err);
    t.ok(isCode(failure, 'failed precondition'), `${binding.service.typeName}.${name}`);
  }
});

function labelsOf(answer: unknown): object {
  return (answer as { container: { labels: object } }).container.labels;
}
