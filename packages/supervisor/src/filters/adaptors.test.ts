import t from 'tap';
import { containers, events, images, packAny, timestampNow } from '@gantry/api';
import type { types } from '@gantry/api';
import { containerAdaptor, imageAdaptor, snapshotAdaptor } from './adaptors.ts';
import { compileFilters } from './compile.ts';
import { eventAdaptor } from './event-adaptor.ts';

t.test('a container has an id, an image, a runtime and labels', (t) => {
  const container = containers.Container.create({
    id: 'c1',
    runtime: { name: 'io.containerd.runc.v2' },
    labels: { 'a.b': '1', e: '' },
  });
  const see = containerAdaptor(container);
  t.equal(see(['id']), 'c1');
  t.equal(see(['id', 'x']), undefined);
  t.equal(see(['image']), undefined, 'empty is absent');
  t.equal(see(['runtime', 'name']), 'io.containerd.runc.v2');
  t.equal(see(['labels', 'a', 'b']), '1');
  t.equal(see(['labels', 'e']), '', 'a label is there when its key is');
  t.equal(see(['labels']), undefined);
  t.equal(see(['labels', 'constructor']), undefined);
  t.equal(see(['snapshotter']), undefined);
  t.end();
});

t.test('an image has a name, a target, annotations and labels', (t) => {
  const target = { mediaType: 'a/b', digest: 'sha256:x', size: 1n, annotations: { n: 'v' } };
  const see = imageAdaptor(images.Image.create({ name: 'i', target }));
  t.equal(see(['target', 'mediatype']), 'a/b');
  t.equal(see(['target', 'digest']), 'sha256:x');
  t.equal(see(['annotations', 'n']), 'v');
  t.equal(see(['target', 'size']), undefined);
  t.end();
});

t.test('a snapshot has a kind, a name, a parent and labels', (t) => {
  const see = snapshotAdaptor({
    kind: 'active',
    name: 'k',
    parent: '',
    labels: { l: 'v' },
    createdAtNs: 0n,
    updatedAtNs: 0n,
  });
  t.equal(see(['kind']), 'active');
  t.equal(see(['parent']), '');
  t.ok(compileFilters(['parent==""'])(see), 'the lowest layers can be asked for');
  t.equal(see(['labels', 'l']), 'v');
  t.end();
});

t.test('events are filtered by envelope and by the fields of their payload', (t) => {
  const envelope = (event: types.Envelope['event']): types.Envelope => {
    return { timestamp: timestampNow(), namespace: 'moby', topic: '/tasks/exit', event };
  };
  const exit = envelope(packAny(events.TaskExit, { containerId: 'c1', id: 'e1', pid: 7, exitStatus: 137 }));
  const matches = (filter: string, of = exit): boolean => compileFilters([filter])(eventAdaptor(of));
  t.equal(matches('namespace==moby,topic~=|^/tasks/|'), true);
  t.equal(matches('topic=="/tasks/oom"'), false);
  t.equal(matches('event.container_id==c1,event.id==e1'), true);
  t.equal(matches('event.containerId==c1'), false, 'fields go by the names of the .proto file');
  t.equal(matches('event.exit_status==137'), true);
  t.equal(matches('event'), false);
  const labelled = envelope(packAny(images.ImageCreate, { name: 'i', labels: { 'a.b/c': 'v' } }));
  t.equal(matches('event.labels."a.b/c"==v', labelled), true);
  t.equal(matches('event.labels.x', labelled), false);
  const created = envelope(packAny(events.ContainerCreate, { id: 'c', runtime: { name: 'r' } }));
  t.equal(matches('event.runtime.name==r', created), true);
  t.equal(matches('event.id!=x', envelope({ typeUrl: 'unknown.Type', value: new Uint8Array() })), true);
  t.equal(matches('event.id', envelope({ typeUrl: 'containerd.events.TaskExit', value: Uint8Array.of(255) })), false);
  t.equal(matches('event.id', envelope(undefined)), false);
  t.end();
});
