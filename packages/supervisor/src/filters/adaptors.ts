/** What filters see of each kind of object; the table of fields is that of containerd's list calls. */
import type { containers, images, introspection, leases, types } from '@gantry/api';
import type { ContentInfo, IngestStatus } from '@gantry/content';
import type { SnapshotInfo } from '@gantry/snapshots';
import type { Adaptor } from './compile.ts';

/** `id`, `runtime.name`, `image`, `labels.<key>`. */
export function containerAdaptor(container: containers.Container): Adaptor {
  return (path) => {
    switch (path[0]) {
      case 'id':
        return leaf(path, container.id);
      case 'image':
        return leaf(path, container.image);
      case 'runtime':
        return path[1] === 'name' ? leaf(path.slice(1), container.runtime?.name) : undefined;
      case 'labels':
        return entry(path, container.labels);
      default:
        return undefined;
    }
  };
}

/** `name`, `target.digest`, `target.mediatype`, `labels.<key>`, `annotations.<key>`. */
export function imageAdaptor(image: images.Image): Adaptor {
  return (path) => {
    switch (path[0]) {
      case 'name':
        return leaf(path, image.name);
      case 'target':
        if (path[1] === 'digest') return leaf(path.slice(1), image.target?.digest);
        return path[1] === 'mediatype' ? leaf(path.slice(1), image.target?.mediaType) : undefined;
      case 'labels':
        return entry(path, image.labels);
      case 'annotations':
        return entry(path, image.target?.annotations ?? {});
      default:
        return undefined;
    }
  };
}

/** `digest`, `labels.<key>`. */
export function contentAdaptor(info: Pick<ContentInfo, 'digest' | 'labels'>): Adaptor {
  return (path) => {
    if (path[0] === 'digest') return leaf(path, info.digest);
    return path[0] === 'labels' ? entry(path, info.labels) : undefined;
  };
}

/** `ref`. */
export function ingestAdaptor(status: Pick<IngestStatus, 'ref'>): Adaptor {
  return (path) => (path[0] === 'ref' ? leaf(path, status.ref) : undefined);
}

/** `kind`, `name`, `parent`, `labels.<key>`. */
export function snapshotAdaptor(info: SnapshotInfo): Adaptor {
  return (path) => {
    switch (path[0]) {
      case 'kind':
        return leaf(path, info.kind);
      case 'name':
        return leaf(path, info.name);
      case 'parent':
        // Of a snapshot without one it is there and empty: `parent==""` finds the lowest layers.
        return path.length === 1 ? info.parent : undefined;
      case 'labels':
        return entry(path, info.labels);
      default:
        return undefined;
    }
  };
}

/** `id`, `labels.<key>`. */
export function leaseAdaptor(lease: leases.Lease): Adaptor {
  return (path) => {
    if (path[0] === 'id') return leaf(path, lease.id);
    return path[0] === 'labels' ? entry(path, lease.labels) : undefined;
  };
}

/** `id`, `labels.<key>`. */
export function sandboxAdaptor(sandbox: types.Sandbox): Adaptor {
  return (path) => {
    if (path[0] === 'id') return leaf(path, sandbox.sandboxId);
    return path[0] === 'labels' ? entry(path, sandbox.labels) : undefined;
  };
}

/** `type`, `id`. */
export function pluginAdaptor(plugin: Pick<introspection.Plugin, 'type' | 'id'>): Adaptor {
  return (path) => {
    if (path[0] === 'type') return leaf(path, plugin.type);
    return path[0] === 'id' ? leaf(path, plugin.id) : undefined;
  };
}

/** `id`, `namespace`: the tasks whose metrics are wanted. */
export function taskAdaptor(task: { readonly id: string; readonly namespace: string }): Adaptor {
  return (path) => {
    if (path[0] === 'id') return leaf(path, task.id);
    return path[0] === 'namespace' ? leaf(path, task.namespace) : undefined;
  };
}

/** The text at a path that ends here; empty text counts as absent. */
export function leaf(path: readonly string[], text: string | undefined): string | undefined {
  return path.length === 1 && text !== '' ? text : undefined;
}

/** The entry of a map; what follows the map's name is the key, dots included. */
export function entry(path: readonly string[], map: Readonly<Record<string, string>>): string | undefined {
  if (path.length < 2) return undefined;
  const key = path.slice(1).join('.');
  return Object.hasOwn(map, key) ? map[key] : undefined;
}
