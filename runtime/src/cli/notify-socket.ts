/**
 * A service manager that waits for READY=1 (sd_notify(3)) hears it from the container by way of us: its own socket is
 * out of the container's reach, and would not take the word of a process that is not ours.
 *
 *   NOTIFY_SOCKET in our environment
 *   create   the state directory's `notify` is mounted on /run/notify, and the container told of notify.sock in it
 *   start    binds notify.sock; what the container says there is read until it is READY=1 or the container has ended
 *            ──► the manager gets READY=1, MAINPID=… and a barrier, and nothing else of what was said
 */
import { chmodSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { AT_FDCWD, linux, O_DIRECTORY, O_PATH, POLLHUP, POLLIN, SOCK_DGRAM, watchReadable } from '@gantry/libc';
import type { Spec } from '@gantry/oci';

const inContainer = '/run/notify';
const name = 'notify.sock';
const MAX_DATAGRAM_BYTES = 4096;
const BARRIER_TIMEOUT_MS = 30_000;

function managerSocket(): string {
  return process.env['NOTIFY_SOCKET'] ?? '';
}

/** The configuration with the socket of its state directory; as it was when no service manager waits. */
export function withNotifySocket(spec: Spec, directory: string): Spec {
  if (managerSocket() === '' || spec.process === undefined) return spec;
  const source = join(directory, 'notify');
  mkdirSync(source, { mode: 0o755 });
  const mount = {
    destination: inContainer,
    type: 'bind',
    source,
    options: ['bind', 'nosuid', 'noexec', 'nodev', 'ro'],
  };
  const env = (spec.process.env ?? []).filter((one) => !one.startsWith('NOTIFY_SOCKET='));
  return {
    ...spec,
    mounts: [...(spec.mounts ?? []), mount],
    process: { ...spec.process, env: [...env, `NOTIFY_SOCKET=${inContainer}/${name}`] },
  };
}

/** Bound from before the container is started until it is ready. */
export class NotifySocket {
  readonly #fd: number;
  readonly #chunk = Buffer.alloc(MAX_DATAGRAM_BYTES);

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** Undefined when no service manager waits for this container. */
  static open(directory: string): NotifySocket | undefined {
    const place = join(directory, 'notify');
    if (managerSocket() === '' || !existsSync(place)) return undefined;
    rmSync(join(place, name), { force: true });
    // By descriptor: a socket's path has at most 107 bytes.
    const top = linux.openat(AT_FDCWD, place, O_PATH | O_DIRECTORY);
    try {
      const fd = linux.listenUnix(`/proc/self/fd/${top}/${name}`, SOCK_DGRAM);
      chmodSync(join(place, name), 0o777);
      return new NotifySocket(fd);
    } finally {
      linux.close(top);
    }
  }

  /** Returns when the container has said that it is ready, or has ended. */
  await(pid: number): void {
    const pidfd = linux.pidfdOpen(pid);
    try {
      for (;;) {
        const [said = 0, ended = 0] = linux.poll(
          [
            { fd: this.#fd, events: POLLIN },
            { fd: pidfd, events: POLLIN },
          ],
          -1,
        );
        if (said !== 0 && this.#saysReady()) return tellManager(pid);
        if (ended !== 0) return;
      }
    } finally {
      linux.close(pidfd);
      linux.close(this.#fd);
    }
  }

  /** The same beside whatever else is waited for. */
  forwardMeanwhile(pid: number): void {
    const stop = watchReadable(
      this.#fd,
      () => {
        if (!this.#saysReady()) return;
        stop();
        linux.close(this.#fd);
        tellManager(pid);
      },
      { unref: true },
    );
  }

  #saysReady(): boolean {
    const length = linux.read(this.#fd, this.#chunk) ?? 0;
    return this.#chunk.toString('latin1', 0, length).split('\n').includes('READY=1');
  }
}

function tellManager(pid: number): void {
  const socket = linux.connectUnix(managerSocket(), SOCK_DGRAM);
  const barrier = linux.pipe2(0);
  try {
    linux.sendMessage(socket, Buffer.from('READY=1'), []);
    linux.sendMessage(socket, Buffer.from(`MAINPID=${pid}`), []);
    // The manager closes it when it has read what came before.
    linux.sendMessage(socket, Buffer.from('BARRIER=1'), [barrier.writeEnd]);
    linux.close(barrier.writeEnd);
    linux.poll([{ fd: barrier.readEnd, events: POLLHUP }], BARRIER_TIMEOUT_MS);
  } finally {
    linux.close(barrier.readEnd);
    linux.close(socket);
  }
}
