/** One side of the comparison: a daemon of the bench's own, the image in it, and a connection to it. */
import { createReadStream } from 'node:fs';
import { packAny, runcOptions, snapshots, version } from '@gantry/api';
import type { wellKnown } from '@gantry/api';
import { connect } from '@gantry/client';
import type { DaemonProcess } from '@gantry/test';
import { imageName } from '@gantry/test';
import { connect as connectSocket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '../connection.ts';
import type { CgroupTree } from '../host/cgroup-tree.ts';
import type { SideName } from '../results.ts';

/** How long a daemon may take until its first answer. */
const readyTimeoutMs = 20_000;

/** Between two tries to reach a daemon that is starting; short, because a try's age is the error of what is measured. */
const retryMs = 2;

export const snapshotter = 'overlayfs';

export interface SideOptions {
  readonly name: SideName;
  /** What the tables call it: `gantry`, `containerd + runc`. */
  readonly title: string;
  readonly daemon: DaemonProcess;
  readonly namespace: string;
  readonly dir: string;
  readonly cgroups: CgroupTree;
  /** An OCI runtime other than the daemon's own, by name or path. */
  readonly runtimeBinary?: string | undefined;
  /** Pids of the shims that hold this side's containers. */
  readonly shims: () => number[];
}

/** Whether somebody listens on a socket: cheaper to ask often than a call. */
function accepts(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectSocket(address);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** Owned by the bench, which ends it with `stop`. */
export class Side {
  readonly name: SideName;
  readonly title: string;
  readonly namespace: string;
  readonly dir: string;
  readonly daemon: DaemonProcess;
  readonly shims: () => number[];
  /** How containers of this side are run. */
  readonly runtime: { readonly name: string; readonly options?: wellKnown.Any };
  /** The snapshot of the unpacked image, parent of every container's. */
  parent = '';
  /** What the daemon says it is. */
  version = '';
  #connection: Connection | undefined;
  readonly #cgroups: CgroupTree;

  constructor(options: SideOptions) {
    this.name = options.name;
    this.title = options.title;
    this.namespace = options.namespace;
    this.dir = options.dir;
    this.daemon = options.daemon;
    this.shims = options.shims;
    this.#cgroups = options.cgroups;
    const name = 'io.containerd.runc.v2';
    this.runtime =
      options.runtimeBinary === undefined
        ? { name }
        : { name, options: packAny(runcOptions.Options, { binaryName: options.runtimeBinary }) };
  }

  get connection(): Connection {
    if (this.#connection === undefined) throw new Error(`${this.title} is not started`);
    return this.#connection;
  }

  /** One more connection, which its caller closes. */
  anotherConnection(): Connection {
    return new Connection(this.daemon.address, this.namespace);
  }

  /** The parent of the containers' cgroups. */
  get cgroup(): string {
    return `/${this.#cgroups.name}/${this.name}`;
  }

  /** Directories of the containers' cgroups that are there. */
  groups(): string[] {
    return this.#cgroups.groups(this.name);
  }

  /** Processor time used so far by the daemon, its shims and the containers; undefined when the host does not count. */
  cpuMs(): number | undefined {
    return this.#cgroups.cpuMs(this.name);
  }

  /** Starts the daemon and gives it the image. */
  async start(archive: string): Promise<void> {
    this.#cgroups.add(this.name);
    await this.launch();
    const { version: is } = await this.connection.call(version.VersionService, 'version', {});
    this.version = is;
    using client = connect({ address: this.daemon.address, namespace: this.namespace });
    await client.images.import(createReadStream(archive));
    this.parent = await client.images.unpack(imageName, { snapshotter });
    await this.connection.call(snapshots.SnapshotsService, 'stat', { snapshotter, key: this.parent });
  }

  /** Starts the process; resolves with the milliseconds until it answered its first call. */
  async launch(): Promise<number> {
    this.#connection?.close();
    const startedAt = performance.now();
    this.daemon.launch({ detached: true, bare: true });
    this.#cgroups.enter(this.name, this.daemon.pid);
    while (!(await accepts(this.daemon.address))) {
      if (this.daemon.hasEnded) throw new Error(`${this.title} ended at its start:\n${this.daemon.log()}`);
      if (performance.now() - startedAt > readyTimeoutMs) throw new Error(`${this.title} does not listen`);
      await sleep(retryMs);
    }
    this.#connection = new Connection(this.daemon.address, this.namespace);
    await this.#connection.call(version.VersionService, 'version', {}, readyTimeoutMs);
    return performance.now() - startedAt;
  }

  /** Ends every call under way, and with them the scenario that made them. */
  reconnect(): void {
    this.#connection?.close();
    this.#connection = new Connection(this.daemon.address, this.namespace);
  }

  /** SIGKILL, with the connection cut. */
  async kill(): Promise<void> {
    this.#connection?.close();
    this.#connection = undefined;
    await this.daemon.kill();
  }

  /** SIGTERM, if it runs. */
  async stop(): Promise<void> {
    this.#connection?.close();
    this.#connection = undefined;
    if (this.daemon.pid !== 0 && !this.daemon.hasEnded) await this.daemon.stop();
  }
}
