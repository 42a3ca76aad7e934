/**
 * containerd.services.containers.v1.Containers: the records of containers. Nothing runs because of them and nothing
 * stops without them; a record is the message as the client sent it, with the server's times.
 */
import { checkIdentifier, checkLabels, containers, events, timestampNow } from '@gantry/api';
import { alreadyExists, invalidArgument, notFound, wrap } from '@gantry/errors';
import { keys, presentLabels } from '@gantry/store';
import type { Reader, Store } from '@gantry/store';
import type { Publisher } from '../events/exchange.ts';
import { maskedRecord, parseMask } from '../field-mask.ts';
import { compileFilters, containerAdaptor } from '../filters/index.ts';
import type { GarbageCollector } from '../gc/collector.ts';
import { bind } from '../rpc/handlers.ts';
import type { Binding } from '../rpc/handlers.ts';
import { ensureNamespace } from './namespace-records.ts';

export interface ContainersServiceComponents {
  readonly store: Store;
  readonly events: Publisher;
  readonly gc: Pick<GarbageCollector, 'schedule'>;
}

type Container = containers.Container;

const maskFields = ['labels', 'spec', 'extensions', 'image', 'snapshotkey'] as const;
const maskMaps = ['labels', 'extensions'] as const;
type MaskField = (typeof maskFields)[number];

const maskMembers = {
  labels: 'labels',
  spec: 'spec',
  extensions: 'extensions',
  image: 'image',
  snapshotkey: 'snapshotKey',
} as const satisfies Readonly<Record<MaskField, keyof Container>>;

export function containersService({ store, events: publisher, gc }: ContainersServiceComponents): Binding {
  return bind(containers.ContainersService, {
    get: ({ id }, call) => ({ container: readContainer(store, call.namespace, id) }),

    list: ({ filters }, call) => ({ containers: [...listContainers(store, call.namespace, filters)] }),

    async *listStream({ filters }, call) {
      for (const container of listContainers(store, call.namespace, filters)) yield { container };
    },

    async create({ container: given }, call) {
      const { namespace } = call;
      const container = newContainer(given);
      await store.transact((tx) => {
        const key = keys.containers(namespace, container.id);
        if (tx.get(key) !== undefined) {
          throw alreadyExists(`container ${JSON.stringify(container.id)}`, { container: container.id });
        }
        ensureNamespace(tx, namespace);
        tx.put(key, containers.Container.encode(container));
      });
      const { id, image, runtime } = container;
      publisher.publish(namespace, '/containers/create', events.ContainerCreate, { id, image, runtime });
      return { container };
    },

    async update({ container: change, updateMask }, call) {
      const { namespace } = call;
      if (change === undefined || change.id === '') throw invalidArgument('Container.ID required');
      const container = await store.transact((tx) => {
        const key = keys.containers(namespace, change.id);
        const bytes = tx.get(key);
        if (bytes === undefined) {
          throw notFound(`container ${JSON.stringify(change.id)}`, { container: change.id });
        }
        const updated = updatedContainer(containers.Container.decode(bytes), change, updateMask?.paths ?? []);
        tx.put(key, containers.Container.encode(updated));
        return updated;
      });
      const { id, image, labels, snapshotKey } = container;
      publisher.publish(namespace, '/containers/update', events.ContainerUpdate, { id, image, labels, snapshotKey });
      return { container };
    },

    async delete({ id }, call) {
      const { namespace } = call;
      await store.transact((tx) => {
        if (id === '' || tx.get(keys.containers(namespace, id)) === undefined) {
          throw notFound(`cannot delete container ${named(namespace, id)}`, { container: id });
        }
        tx.delete(keys.containers(namespace, id));
      });
      publisher.publish(namespace, '/containers/delete', events.ContainerDelete, { id });
      gc.schedule();
      return {};
    },
  });
}

/** A container's record. Throws not found. */
export function readContainer(reader: Reader, namespace: string, id: string): Container {
  const bytes = id === '' ? undefined : reader.get(keys.containers(namespace, id));
  if (bytes === undefined) throw notFound(`container ${named(namespace, id)}`, { container: id });
  return containers.Container.decode(bytes);
}

/** Throws not found when there is no such container. */
export function requireContainer(reader: Reader, namespace: string, id: string): void {
  if (id === '' || reader.get(keys.containers(namespace, id)) === undefined) {
    throw notFound(`container ${named(namespace, id)}`, { container: id });
  }
}

/** The records that the filters let through, by id. Throws invalid argument for a malformed filter, at once. */
export function listContainers(reader: Reader, namespace: string, filters: readonly string[]): Iterable<Container> {
  const matches = compileFilters(filters);
  return filtered();

  function* filtered(): Generator<Container> {
    for (const { value } of reader.scan(keys.containers(namespace))) {
      const container = containers.Container.decode(value);
      if (matches(containerAdaptor(container))) yield container;
    }
  }
}

function newContainer(given: Container | undefined): Container {
  const base = given ?? containers.Container.create();
  try {
    checkContainer(base);
  } catch (err) {
    throw wrap(err, 'create container failed validation');
  }
  const at = timestampNow();
  return { ...base, labels: presentLabels(base.labels), createdAt: at, updatedAt: at };
}

/** The record after an update. Throws invalid argument for what cannot change or would not be valid. */
function updatedContainer(old: Container, change: Container, paths: readonly string[]): Container {
  const subject = `on ${JSON.stringify(old.id)}`;
  const mask = parseMask<MaskField>(paths, { fields: maskFields, maps: maskMaps, subject });
  if (mask.length === 0) {
    if (change.snapshotter !== old.snapshotter) throw invalidArgument('container.Snapshotter field is immutable');
    if (change.runtime?.name !== old.runtime?.name) throw invalidArgument('container.Runtime.Name field is immutable');
    mask.push(...maskFields.map((field) => ({ field, key: undefined })));
  }
  const updated = maskedRecord(old, change, mask, maskMembers);
  try {
    checkContainer(updated);
  } catch (err) {
    throw wrap(err, 'update failed validation');
  }
  return { ...updated, labels: presentLabels(updated.labels), updatedAt: timestampNow() };
}

function checkContainer(container: Container): void {
  checkIdentifier('container.ID', container.id);
  if (Object.hasOwn(container.extensions, '')) {
    throw invalidArgument('container.Extension keys must not be zero-length');
  }
  try {
    checkLabels(container.labels);
  } catch (err) {
    throw wrap(err, 'containers.Labels');
  }
  if ((container.runtime?.name ?? '') === '') throw invalidArgument('container.Runtime.Name must be set');
  if (container.spec === undefined) throw invalidArgument('container.Spec must be set');
  if (container.snapshotKey !== '' && container.snapshotter === '') {
    throw invalidArgument('container.Snapshotter must be set if container.SnapshotKey is set');
  }
}

function named(namespace: string, id: string): string {
  return `${JSON.stringify(id)} in namespace ${JSON.stringify(namespace)}`;
}
