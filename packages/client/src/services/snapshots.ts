/** Snapshots: layers as they lie unpacked, and the writable directories on top of them. */
import { diff, snapshots } from '@gantry/api';
import type { types } from '@gantry/api';
import { internal } from '@gantry/errors';
import type { CallOptions } from '../transport/call-options.ts';
import type { Transport } from '../transport/transport.ts';

const service = snapshots.SnapshotsService;

export interface SnapshotOptions extends CallOptions {
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

/** The calls of one snapshotter (`client.snapshots.of('overlayfs')`). */
export class SnapshotsClient {
  readonly snapshotter: string;
  private readonly transport: Transport;

  constructor(transport: Transport, snapshotter: string) {
    this.transport = transport;
    this.snapshotter = snapshotter;
  }

  /** The same for another snapshotter. */
  of(snapshotter: string): SnapshotsClient {
    return new SnapshotsClient(this.transport, snapshotter);
  }

  /**
   * A new active snapshot `key` on the committed `parent` ('' for none); returns how to mount it.
   * Throws already exists, not found (parent), invalid argument (parent not committed, unknown snapshotter).
   */
  async prepare(key: string, parent: string, options: SnapshotOptions = {}): Promise<types.Mount[]> {
    const request = { snapshotter: this.snapshotter, key, parent, labels: { ...options.labels } };
    return (await this.transport.unary(service, service.methods.prepare, request, options)).mounts;
  }

  /** As `prepare`, read-only. */
  async view(key: string, parent: string, options: SnapshotOptions = {}): Promise<types.Mount[]> {
    const request = { snapshotter: this.snapshotter, key, parent, labels: { ...options.labels } };
    return (await this.transport.unary(service, service.methods.view, request, options)).mounts;
  }

  /** The mounts of an active snapshot or view. */
  async mounts(key: string, options: CallOptions = {}): Promise<types.Mount[]> {
    const request = { snapshotter: this.snapshotter, key };
    return (await this.transport.unary(service, service.methods.mounts, request, options)).mounts;
  }

  /** Turns the active `key` into the committed `name`. Throws already exists, not found. */
  async commit(name: string, key: string, options: SnapshotOptions = {}): Promise<void> {
    const request = { snapshotter: this.snapshotter, name, key, labels: { ...options.labels } };
    await this.transport.unary(service, service.methods.commit, request, options);
  }

  /** Throws not found; failed precondition while the snapshot has children. */
  async remove(key: string, options: CallOptions = {}): Promise<void> {
    await this.transport.unary(service, service.methods.remove, { snapshotter: this.snapshotter, key }, options);
  }

  /** Throws not found. */
  async stat(key: string, options: CallOptions = {}): Promise<snapshots.Info> {
    const request = { snapshotter: this.snapshotter, key };
    const reply = await this.transport.unary(service, service.methods.stat, request, options);
    if (reply.info === undefined) throw internal(`snapshot "${key}": empty reply`);
    return reply.info;
  }

  /** Sets labels one by one; an empty value removes the label. Throws not found. */
  async setLabels(key: string, labels: Readonly<Record<string, string>>, options: CallOptions = {}): Promise<void> {
    const paths = Object.keys(labels).map((name) => `labels.${name}`);
    if (paths.length === 0) return;
    const request = {
      snapshotter: this.snapshotter,
      info: { name: key, labels: { ...labels } },
      updateMask: { paths },
    };
    await this.transport.unary(service, service.methods.update, request, options);
  }

  /** Every snapshot of the namespace that matches any of the filters. */
  async *list(filters: readonly string[] = [], options: CallOptions = {}): AsyncGenerator<snapshots.Info, void, void> {
    const request = { snapshotter: this.snapshotter, filters: [...filters] };
    for await (const batch of this.transport.serverStream(service, service.methods.list, request, options)) {
      yield* batch.info;
    }
  }

  /** Bytes and inodes of the snapshot itself, without its parents. */
  usage(key: string, options: CallOptions = {}): Promise<snapshots.UsageResponse> {
    const request = { snapshotter: this.snapshotter, key };
    return this.transport.unary(service, service.methods.usage, request, options);
  }
}

export interface MakeDiffOptions extends CallOptions {
  /** Default: a gzip'ed OCI layer. */
  readonly mediaType?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

/**
 * Stores the layer that makes `left` into `right` (`containerd.services.diff.v1.Diff/Diff`); call it with a lease. No deadline
 * by default.
 */
export async function makeDiff(
  transport: Transport,
  left: readonly types.Mount[],
  right: readonly types.Mount[],
  options: MakeDiffOptions = {},
): Promise<types.Descriptor> {
  const { mediaType = '', labels = {}, ...call } = options;
  const request = { left: [...left], right: [...right], mediaType, labels: { ...labels } };
  const reply = await transport.unary(diff.DiffService, diff.DiffService.methods.diff, request, {
    timeoutMs: 0,
    ...call,
  });
  if (reply.diff === undefined) throw internal('diff: empty reply');
  return reply.diff;
}

/**
 * Applies a layer blob on the mounts of an active snapshot (`containerd.services.diff.v1.Diff/Apply`); returns the
 * descriptor of the uncompressed tar, whose digest is the layer's diff id. No deadline by default: layers are large.
 */
export async function applyDiff(
  transport: Transport,
  layer: types.Descriptor,
  mounts: readonly types.Mount[],
  options: CallOptions = {},
): Promise<types.Descriptor> {
  const reply = await transport.unary(
    diff.DiffService,
    diff.DiffService.methods.apply,
    { diff: layer, mounts: [...mounts] },
    { timeoutMs: 0, ...options },
  );
  if (reply.applied === undefined) throw internal(`layer ${layer.digest}: empty reply`);
  return reply.applied;
}
