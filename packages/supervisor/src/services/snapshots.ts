/** containerd.services.snapshots.v1.Snapshots: translation only; packages/snapshots decides. */
import { checkLabels, events, snapshots, timestampFromNs } from '@gantry/api';
import type { PartialMessage } from '@gantry/api';
import { invalidArgument } from '@gantry/errors';
import type { SnapshotInfo, SnapshotKind, SnapshotStore } from '@gantry/snapshots';
import { snapshotAdaptor } from '../filters/adaptors.ts';
import { compileFilters } from '../filters/index.ts';
import type { Publisher } from '../events/exchange.ts';
import type { GarbageCollector } from '../gc/collector.ts';
import { bind } from '../rpc/handlers.ts';
import type { Binding } from '../rpc/handlers.ts';
import { mountsFor } from '../tasks/old-clients.ts';

/** How many infos go into one message of List. */
const listBatch = 100;

const kinds: Readonly<Record<SnapshotKind, number>> = {
  view: snapshots.Kind.VIEW,
  active: snapshots.Kind.ACTIVE,
  committed: snapshots.Kind.COMMITTED,
};

export interface SnapshotsServiceComponents {
  readonly snapshots: SnapshotStore;
  readonly events: Publisher;
  readonly gc: Pick<GarbageCollector, 'schedule'>;
}

export function snapshotsService({ snapshots: store, events: publisher, gc }: SnapshotsServiceComponents): Binding {
  return bind(snapshots.SnapshotsService, {
    async prepare({ snapshotter, key, parent, labels }, call) {
      const { namespace, lease } = call;
      checkLabels(labels);
      const mounts = await store.prepare(namespace, snapshotter, { key, parent, labels, lease });
      publisher.publish(namespace, '/snapshot/prepare', events.SnapshotPrepare, { key, parent, snapshotter });
      return { mounts: mountsFor(call, mounts) };
    },

    async view({ snapshotter, key, parent, labels }, call) {
      checkLabels(labels);
      const mounts = await store.view(call.namespace, snapshotter, { key, parent, labels, lease: call.lease });
      return { mounts: mountsFor(call, mounts) };
    },

    async mounts({ snapshotter, key }, call) {
      return { mounts: mountsFor(call, await store.mounts(call.namespace, snapshotter, key)) };
    },

    async commit({ snapshotter, name, key, labels, parent }, call) {
      const { namespace, lease } = call;
      checkLabels(labels);
      await store.commit(namespace, snapshotter, { name, key, labels, parent, lease });
      publisher.publish(namespace, '/snapshot/commit', events.SnapshotCommit, { key, name, snapshotter });
      return {};
    },

    async remove({ snapshotter, key }, call) {
      const { namespace } = call;
      await store.remove(namespace, snapshotter, key, call.lease);
      publisher.publish(namespace, '/snapshot/remove', events.SnapshotRemove, { key, snapshotter });
      gc.schedule();
      return {};
    },

    async stat({ snapshotter, key }, call) {
      return { info: toWire(await store.describe(call.namespace, snapshotter, key)) };
    },

    async update({ snapshotter, info, updateMask }, call) {
      if (info === undefined) throw invalidArgument('snapshot update without info');
      checkLabels(info.labels);
      const change = { name: info.name, labels: info.labels };
      return { info: toWire(await store.update(call.namespace, snapshotter, change, updateMask?.paths ?? [])) };
    },

    async *list({ snapshotter, filters }, call) {
      const matches = compileFilters(filters);
      let batch: PartialMessage<snapshots.Info>[] = [];
      for (const info of store.list(call.namespace, snapshotter)) {
        if (!matches(snapshotAdaptor(info))) continue;
        batch.push(toWire(info));
        if (batch.length < listBatch) continue;
        yield { info: batch };
        batch = [];
      }
      if (batch.length > 0) yield { info: batch };
    },

    usage: ({ snapshotter, key }, call) => store.usage(call.namespace, snapshotter, key),

    async cleanup({ snapshotter }) {
      await store.cleanup(snapshotter);
      return {};
    },
  });
}

function toWire(info: SnapshotInfo): PartialMessage<snapshots.Info> {
  return {
    name: info.name,
    parent: info.parent,
    kind: kinds[info.kind],
    createdAt: timestampFromNs(info.createdAtNs),
    updatedAt: timestampFromNs(info.updatedAtNs),
    labels: info.labels,
  };
}
