/** A container that an earlier command made: what is known of it, how it is, and a handle to act on it. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cgroupFromPaths } from '@gantry/cgroups';
import type { Cgroup } from '@gantry/cgroups';
import { failedPrecondition, isCode, notFound } from '@gantry/errors';
import { AT_FDCWD, isErrno, linux, O_DIRECTORY, O_PATH, processState, SOCK_SEQPACKET } from '@gantry/libc';
import type { Spec } from '@gantry/oci';
import type { Container } from '../container.ts';
import { ParentChannel } from '../handshake.ts';
import { hostCgroups } from '../host-cgroups.ts';
import { reopenContainer } from '../reopen.ts';
import { readState } from '../state.ts';
import type { RuntimeState } from '../state.ts';
import { readConfig, readRecord } from './record.ts';
import type { ContainerRecord } from './record.ts';
import type { StateRoot } from './state-root.ts';

/** `paused` is runc's, not the specification's. */
export type Status = 'creating' | 'created' | 'running' | 'paused' | 'stopped';

const startSocket = 'start.sock';

export class StoredContainer {
  readonly directory: string;
  readonly record: ContainerRecord;
  readonly state: RuntimeState | undefined;
  #spec: Spec | undefined;
  #cgroup: Cgroup | undefined;

  private constructor(directory: string, record: ContainerRecord) {
    this.directory = directory;
    this.record = record;
    this.state = readState(directory);
  }

  /** Throws not found for an id that nobody has or whose container was never completely made. */
  static load(root: StateRoot, unsafeId: string): StoredContainer {
    const directory = root.existing(unsafeId);
    const record = readRecord(directory);
    if (record === undefined) throw notFound('container does not exist');
    return new StoredContainer(directory, record);
  }

  get id(): string {
    return this.record.id;
  }

  /** The configuration with all updates. */
  get spec(): Spec {
    this.#spec ??= readConfig(this.directory);
    return this.#spec;
  }

  get cgroup(): Cgroup {
    this.#cgroup ??= cgroupFromPaths(hostCgroups(), this.state?.cgroupPaths ?? {});
    return this.#cgroup;
  }

  get status(): Status {
    if (!this.isAlive()) return 'stopped';
    if (this.#isFrozen()) return 'paused';
    return this.#awaitsStart() ? 'created' : 'running';
  }

  /** 0 when init is gone. */
  get pid(): number {
    return this.isAlive() ? (this.state?.pid ?? 0) : 0;
  }

  /** False for a process that has ended and was not reaped, and for another one with the same pid. */
  isAlive(): boolean {
    const { pid = 0, startTime = '' } = this.state ?? {};
    const found = processState(pid);
    return found !== undefined && String(found.startTime) === startTime && found.state !== 'Z' && found.state !== 'X';
  }

  #isFrozen(): boolean {
    try {
      return this.cgroup.isFrozen();
    } catch (err) {
      if (isCode(err, 'invalid argument')) return false;
      throw err;
    }
  }

  #awaitsStart(): boolean {
    if (!existsSync(join(this.directory, startSocket))) return false;
    const connection = connectToInit(this.directory);
    if (connection === undefined) return false;
    linux.close(connection);
    return true;
  }

  /** A handle on the living container. Failed precondition when init is gone. */
  open(): Container {
    return this.#reopen(ParentChannel.closed(linux));
  }

  /** A handle whose `start` releases init. Failed precondition when it does not wait for that. */
  openToStart(): Container {
    const connection = this.isAlive() ? connectToInit(this.directory) : undefined;
    if (connection !== undefined) return this.#reopen(new ParentChannel(linux, connection));
    throw failedPrecondition(
      this.isAlive() ? 'cannot start an already running container' : 'cannot start a container that has stopped',
    );
  }

  #reopen(channel: ParentChannel): Container {
    const { pid = 0, startTime = '' } = this.state ?? {};
    return reopenContainer(linux, {
      id: this.id,
      bundle: this.record.bundle,
      stateDir: this.directory,
      spec: this.spec,
      pid,
      startTime,
      channel,
      cgroup: this.cgroup,
      noNewKeyring: this.record.noNewKeyring,
    });
  }
}

/** A socket path may have 107 bytes only; this one is short however long the directory's is. */
export function withStartSocket<T>(directory: string, use: (path: string) => T): T {
  const fd = linux.openat(AT_FDCWD, directory, O_PATH | O_DIRECTORY);
  try {
    return use(`/proc/self/fd/${fd}/${startSocket}`);
  } finally {
    linux.close(fd);
  }
}

function connectToInit(directory: string): number | undefined {
  try {
    return withStartSocket(directory, (path) => linux.connectUnix(path, SOCK_SEQPACKET));
  } catch (err) {
    if (isErrno(err, 'ECONNREFUSED', 'ENOENT')) return undefined;
    throw err;
  }
}
