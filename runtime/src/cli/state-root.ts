/**
 * Where the command line keeps what it must know about its containers between two commands.
 *
 *   ROOT/                      0700, made when it is missing
 *     ID/                      0700, one a container; making it is what makes the id taken
 *       lock                   held (flock) by a command that changes the container
 *       state.json init.pid    the runtime's own (state.ts)
 *       config.json            the configuration it was created with, with the limits of later updates
 *       record.json            the rest (record.ts); a directory without one is half made
 *       start.sock             as long as init waits to be started (init/start-gate.ts)
 *       notify/notify.sock     the service manager's, as the container sees it
 */
import { chmodSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { alreadyExists, deadlineExceeded, invalidArgument, notFound, wrap } from '@gantry/errors';
import { AT_FDCWD, isErrno, linux, monotonicMs, O_CREAT, O_RDWR } from '@gantry/libc';

const idPattern = /^[A-Za-z0-9_+.-]+$/;
const MAX_ID_CHARACTERS = 1024;

/** How long a command waits for another one that changes the same container. */
const LOCK_TIMEOUT_MS = 30_000;
const LOCK_PAUSE_MS = 5;

/** Refuses what is no container id, before it becomes part of a path. */
export function checkId(unsafeId: string): string {
  const fits = idPattern.test(unsafeId) && unsafeId.length <= MAX_ID_CHARACTERS;
  if (fits && unsafeId !== '.' && unsafeId !== '..') return unsafeId;
  throw invalidArgument(unsafeId === '' ? 'container id cannot be empty' : 'invalid container ID format');
}

export class StateRoot {
  readonly path: string;

  constructor(path: string) {
    this.path = resolve(path);
  }

  directoryOf(unsafeId: string): string {
    return join(this.path, checkId(unsafeId));
  }

  /** Takes the id. Already exists when somebody has it. */
  claim(unsafeId: string): string {
    const directory = this.directoryOf(unsafeId);
    try {
      mkdirSync(this.path, { recursive: true, mode: 0o700 });
      mkdirSync(directory, { mode: 0o700 });
      // Whatever the umask of the caller was.
      chmodSync(directory, 0o700);
    } catch (err) {
      if (isErrno(err, 'EEXIST')) throw alreadyExists('container with given ID already exists');
      throw wrap(err, 'making the state directory');
    }
    return directory;
  }

  /** The ids that are taken, in order; none when nothing was ever created. */
  ids(): string[] {
    try {
      return readdirSync(this.path, { withFileTypes: true })
        .filter((entry) => entry.isDirectory() && idPattern.test(entry.name))
        .map((entry) => entry.name)
        .toSorted();
    } catch (err) {
      if (isErrno(err, 'ENOENT')) return [];
      throw wrap(err, `reading ${this.path}`);
    }
  }

  /** Throws not found, in runc's words, when nobody has the id. */
  existing(unsafeId: string): string {
    const directory = this.directoryOf(unsafeId);
    try {
      if (statSync(directory).isDirectory()) return directory;
    } catch (err) {
      if (!isErrno(err, 'ENOENT')) throw wrap(err, `reading ${directory}`);
    }
    throw notFound('container does not exist');
  }

  /** The id is free at once; a command that waits for the lock cannot put anything into what is being removed. */
  remove(unsafeId: string): void {
    const directory = this.directoryOf(unsafeId);
    // No id has a comma.
    const aside = join(this.path, `,${process.pid}`);
    rmSync(aside, { recursive: true, force: true });
    try {
      renameSync(directory, aside);
    } catch (err) {
      if (isErrno(err, 'ENOENT')) return;
      throw wrap(err, `removing ${directory}`);
    }
    rmSync(aside, { recursive: true, force: true });
  }
}

/** Held until it is disposed of or the process ends. */
export class ContainerLock implements Disposable {
  readonly #fd: number;

  /** Waits for commands that have the lock. Deadline exceeded when they do not end. */
  constructor(directory: string) {
    const file = join(directory, 'lock');
    let fd: number;
    try {
      fd = linux.openat(AT_FDCWD, file, O_RDWR | O_CREAT, 0o600);
    } catch (err) {
      // Deleted since it was looked at.
      if (isErrno(err, 'ENOENT')) throw notFound('container does not exist');
      throw err;
    }
    const until = monotonicMs() + LOCK_TIMEOUT_MS;
    while (!linux.lock(fd, true)) {
      if (monotonicMs() > until) {
        linux.close(fd);
        throw deadlineExceeded('another command is changing the container');
      }
      linux.poll([], LOCK_PAUSE_MS);
    }
    // Who had it may have deleted the container, and somebody else made another one of the same id.
    if (linux.fstatatIfPresent(AT_FDCWD, file, 0)?.ino !== linux.fstat(fd).ino) {
      linux.close(fd);
      throw notFound('container does not exist');
    }
    this.#fd = fd;
  }

  [Symbol.dispose](): void {
    linux.close(this.#fd);
  }
}
