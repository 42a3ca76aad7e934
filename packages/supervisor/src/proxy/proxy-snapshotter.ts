/**
 * A snapshotter in another process, behind containerd's own Snapshots service (stargz, nydus, or another gantryd). Its trees are
 * named there as containerd names them, `<namespace>/<number>/<key>`, so that two clients' keys never meet.
 */
import { snapshots } from '@gantry/api';
import type { types } from '@gantry/api';
import { internal, isCode } from '@gantry/errors';
import type { Mount, RemoteSnapshotter, TreeRequest, TreeUsage } from '@gantry/snapshots';
import type { ProxyPlugin } from '../config/proxy-plugins.ts';
import { GrpcPeer } from './grpc-peer.ts';

const service = snapshots.SnapshotsService;
const { prepare, view, mounts, commit, remove, stat, update, list, usage, cleanup } = service.methods;

/** Making a tree may mean fetching something from far away. */
const timeoutMs = 120_000;

type Labels = Readonly<Record<string, string>>;

/** A namespace and the name that the tree has there. Namespaces hold no blank. */
const split = (id: string): readonly [namespace: string, name: string] => {
  const blank = id.indexOf(' ');
  return [id.slice(0, blank), id.slice(blank + 1)];
};

export class ProxySnapshotter implements RemoteSnapshotter {
  readonly name: string;
  /** Where it keeps its trees only it knows. */
  readonly root: string;
  readonly #peer: GrpcPeer;
  /** Its name there. */
  readonly #snapshotter: string;

  constructor({ name, address, farName, exports }: ProxyPlugin) {
    this.name = name;
    this.root = exports['root'] ?? '';
    this.#snapshotter = farName;
    this.#peer = new GrpcPeer({ address, title: `snapshotter ${name} at ${address}`, timeoutMs });
  }

  idOf(namespace: string, number: number, key: string): string {
    return `${namespace} ${namespace}/${number}/${key}`;
  }

  numberOf(id: string): number | undefined {
    const [namespace, name] = split(id);
    const rest = name.startsWith(`${namespace}/`) ? name.slice(namespace.length + 1) : '';
    const digits = /^([1-9]\d*)\//.exec(rest)?.[1];
    return digits === undefined ? undefined : Number(digits);
  }

  async create({ id, kind, parents, labels }: TreeRequest): Promise<void> {
    const [namespace, key] = split(id);
    const [, parent] = split(parents[0] ?? ' ');
    const request = { snapshotter: this.#snapshotter, key, parent, labels: { ...labels } };
    if (kind === 'active') await this.#peer.call(namespace, service, prepare, request);
    else await this.#peer.call(namespace, service, view, request);
  }

  async mounts({ id }: TreeRequest): Promise<Mount[]> {
    const [namespace, key] = split(id);
    const answer = await this.#peer.call(namespace, service, mounts, { snapshotter: this.#snapshotter, key });
    return answer.mounts.map(mountOf);
  }

  async commitAs(id: string, committedId: string, labels: Labels): Promise<void> {
    const [namespace, key] = split(id);
    const [, name] = split(committedId);
    await this.#peer.call(namespace, service, commit, {
      snapshotter: this.#snapshotter,
      name,
      key,
      labels: { ...labels },
    });
  }

  async find(namespace: string, target: string, parent: string | undefined): Promise<string | undefined> {
    const [, parentName] = split(parent ?? ' ');
    const filter = `labels."containerd.io/snapshot.ref"==${JSON.stringify(target)}`;
    for await (const info of this.#list(namespace, [filter])) {
      if (info.kind === snapshots.Kind.COMMITTED && info.parent === parentName) return `${namespace} ${info.name}`;
    }
    return undefined;
  }

  async labelsOf(id: string): Promise<Labels> {
    const [namespace, key] = split(id);
    const { info } = await this.#peer.call(namespace, service, stat, { snapshotter: this.#snapshotter, key });
    if (info === undefined) throw internal(`snapshotter ${this.name}: stat without an answer`);
    return info.labels;
  }

  async update(id: string, labels: Labels, paths: readonly string[]): Promise<void> {
    const [namespace, name] = split(id);
    const concerned = paths.filter((path) => path === 'labels' || path.startsWith('labels.containerd.io/snapshot'));
    // Without paths everything would be replaced.
    if (paths.length > 0 && concerned.length === 0) return;
    const info = { name, labels: { ...labels } };
    const updateMask = { paths: concerned.length > 0 ? concerned : ['labels'] };
    await this.#peer.call(namespace, service, update, { snapshotter: this.#snapshotter, info, updateMask });
  }

  async usage(id: string): Promise<TreeUsage> {
    const [namespace, key] = split(id);
    const { size, inodes } = await this.#peer.call(namespace, service, usage, { snapshotter: this.#snapshotter, key });
    return { size, inodes, fileBytes: 0n };
  }

  async remove(id: string): Promise<void> {
    const [namespace, key] = split(id);
    try {
      await this.#peer.call(namespace, service, remove, { snapshotter: this.#snapshotter, key });
    } catch (err) {
      if (!isCode(err, 'not found')) throw err;
    }
  }

  async listIn(namespace: string): Promise<string[]> {
    const ids: string[] = [];
    for await (const { name } of this.#list(namespace, [])) {
      const id = `${namespace} ${name}`;
      if (this.numberOf(id) !== undefined) ids.push(id);
    }
    return ids;
  }

  /** Nothing of it lies on our disk. */
  async list(): Promise<string[]> {
    return [];
  }

  /** Its own business. */
  async sync(): Promise<void> {
    return undefined;
  }

  async cleanup(): Promise<void> {
    await this.#peer.call('default', service, cleanup, { snapshotter: this.#snapshotter });
  }

  close(): void {
    this.#peer.close();
  }

  async *#list(namespace: string, filters: readonly string[]): AsyncGenerator<snapshots.Info> {
    const request = { snapshotter: this.#snapshotter, filters: [...filters] };
    for await (const { info } of this.#peer.stream(namespace, service, list, request)) yield* info;
  }
}

function mountOf({ type, source, target, options }: types.Mount): Mount {
  return { type, source, options, ...(target === '' ? {} : { target }) };
}
