/** The client: one connection to one supervisor, its calls grouped as the API groups them. */
import type { containers, images, version } from '@gantry/api';
import { createContainer } from './containers/create.ts';
import type { CreateContainerOptions } from './containers/create.ts';
import { removeContainer } from './containers/remove.ts';
import type { RemoveContainerOptions } from './containers/remove.ts';
import { containerChanges } from './images/changes.ts';
import type { FileChange } from './images/changes.ts';
import { commitContainer } from './images/commit.ts';
import { convertImage } from './images/convert.ts';
import type { ConvertOptions } from './images/convert.ts';
import type { CommitOptions } from './images/commit.ts';
import { ImagesClient } from './images/images.ts';
import { ContainersClient } from './services/containers.ts';
import { ContentClient } from './services/content.ts';
import { EventsClient } from './services/events.ts';
import { IntrospectionClient } from './services/introspection.ts';
import { LeasesClient } from './services/leases.ts';
import { NamespacesClient } from './services/namespaces.ts';
import { SnapshotsClient } from './services/snapshots.ts';
import { TasksClient } from './services/tasks.ts';
import { serverVersion } from './services/version.ts';
import { attachTask, createTask, execInTask } from './tasks/start.ts';
import type { CreateTaskOptions, ExecOptions } from './tasks/start.ts';
import type { TaskProcess } from './tasks/process.ts';
import { watchUsage } from './tasks/usage.ts';
import type { StatsOptions, StatsStream } from './tasks/usage.ts';
import { checkSocketExists, defaultAddress, defaultNamespace, socketPath } from './transport/address.ts';
import type { CallOptions } from './transport/call-options.ts';
import { Transport } from './transport/transport.ts';

/** The snapshotter used when nobody says otherwise. */
export const defaultSnapshotter = 'overlayfs';

const defaultTimeoutMs = 30_000;

export interface ConnectOptions {
  /** Path of the socket, or `unix://` and the path. Default: env GANTRY_ADDRESS, else /run/gantry/gantry.sock. */
  readonly address?: string | undefined;
  /** Default: env GANTRY_NAMESPACE, else `default`. */
  readonly namespace?: string | undefined;
  /** Deadline of each unary call, milliseconds; 0 for none. Default 30 s. */
  readonly timeoutMs?: number | undefined;
  /** Default: env GANTRY_SNAPSHOTTER, else `overlayfs`. */
  readonly snapshotter?: string | undefined;
}

/**
 * Opens a client of gantryd or containerd. Nothing is sent before the first call; a socket that does not exist is
 * unavailable at once. The client belongs to the caller: `close` it, or `using client = connect()`.
 */
export function connect(options: ConnectOptions = {}): Client {
  const address = options.address ?? process.env['GANTRY_ADDRESS'] ?? defaultAddress;
  const namespace = options.namespace ?? process.env['GANTRY_NAMESPACE'] ?? defaultNamespace;
  const snapshotter = options.snapshotter ?? process.env['GANTRY_SNAPSHOTTER'] ?? defaultSnapshotter;
  const file = socketPath(address);
  checkSocketExists(file);
  const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  return new Client(new Transport({ socketPath: file, namespace, timeoutMs }), snapshotter);
}

export class Client implements Disposable {
  readonly namespaces: NamespacesClient;
  readonly content: ContentClient;
  readonly images: ImagesClient;
  readonly leases: LeasesClient;
  /** Of the default snapshotter; `snapshots.of(name)` for another. */
  readonly snapshots: SnapshotsClient;
  readonly containers: ContainersClient;
  readonly tasks: TasksClient;
  readonly events: EventsClient;
  readonly introspection: IntrospectionClient;
  /** For calls that no group covers. */
  readonly transport: Transport;

  constructor(transport: Transport, snapshotter: string) {
    this.transport = transport;
    this.namespaces = new NamespacesClient(transport);
    this.content = new ContentClient(transport);
    this.leases = new LeasesClient(transport);
    this.snapshots = new SnapshotsClient(transport, snapshotter);
    this.images = new ImagesClient({
      transport,
      content: this.content,
      leases: this.leases,
      snapshots: this.snapshots,
    });
    this.containers = new ContainersClient(transport);
    this.tasks = new TasksClient(transport);
    this.events = new EventsClient(transport);
    this.introspection = new IntrospectionClient(transport);
  }

  get namespace(): string {
    return this.transport.namespace;
  }

  version(options: CallOptions = {}): Promise<version.VersionResponse> {
    return serverVersion(this.transport, options);
  }

  /** A container from an image: unpacked, with a snapshot, a spec and a record. See `createTask` for running it. */
  createContainer(options: CreateContainerOptions): Promise<containers.Container> {
    return createContainer({ ...this, namespace: this.namespace }, options);
  }

  /** What a container has changed in its file system. */
  changes(containerId: string, options: CallOptions = {}): Promise<FileChange[]> {
    return containerChanges(this, containerId, options);
  }

  /** An image of a container as it is now. */
  commit(containerId: string, name: string, options: CommitOptions = {}): Promise<images.Image> {
    return commitContainer(this, containerId, name, options);
  }

  /** An image of the same files with its layers packed in another way. */
  convert(source: string, name: string, options: ConvertOptions): Promise<images.Image> {
    return convertImage(this, source, name, options);
  }

  /** Removes task, record and snapshot. */
  removeContainer(id: string, options: RemoveContainerOptions = {}): Promise<void> {
    return removeContainer(this, id, options);
  }

  /** Sets up a container's task with the given stdio; `start` runs it. The task outlives this client. */
  createTask(containerId: string, options: CreateTaskOptions): Promise<TaskProcess> {
    return createTask(this, containerId, options);
  }

  /** A further process in a running container; `start` runs it. */
  exec(containerId: string, options: ExecOptions): Promise<TaskProcess> {
    return execInTask(this, containerId, options);
  }

  /** Takes over the pipes of a running task whose client has gone. */
  attach(containerId: string, options: CallOptions = {}): Promise<TaskProcess> {
    return attachTask(this, containerId, options);
  }

  /**
   * What running containers use, a list of readings every second (`intervalMs`) until the loop is left:
   * `for await (const readings of client.stats({ ids: ['web'] }))`.
   */
  stats(options: StatsOptions = {}): StatsStream {
    return watchUsage(this.tasks, options);
  }

  /** Ends every call under way. Containers are not touched. */
  close(): void {
    this.transport.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
