/**
 * The runtime's own record of a container in its bundle: `state.json`, and `init.pid` for those who look for it.
 *
 * It is there for the case that the shim dies: it is written before the control group is made and again when init is
 * born, so that `deleteLeftovers` can always find what there is. Written whole, by rename.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { dataLoss, wrap } from '@gantry/errors';
import { AT_FDCWD, isErrno, O_CREAT, O_TRUNC, O_WRONLY } from '@gantry/libc';
import type { FileCalls } from '@gantry/libc';
import type { Hook } from '@gantry/oci';

export interface RuntimeState {
  readonly id: string;
  /** 0 until init is born. */
  readonly pid: number;
  /** Start time of init, a decimal number of clock ticks; empty until it is born. */
  readonly startTime: string;
  /** Controller → directory, as `Cgroup.paths` gives them. */
  readonly cgroupPaths: Readonly<Record<string, string>>;
  /** What is to be called when the container is gone; absent when there is nothing. */
  readonly poststop?: PoststopHooks;
  /** Where the root is mounted on the host; absent when it is in a mount namespace of the container's. */
  readonly hostRoot?: string;
  /** Directories of resctrl that were made for it. */
  readonly resctrl?: readonly string[];
}

export interface PoststopHooks {
  readonly hooks: readonly Hook[];
  readonly bundle: string;
  /** What each reads on its standard input. */
  readonly input: string;
}

export type StateCalls = Pick<FileCalls, 'openat' | 'write' | 'close' | 'renameat' | 'unlinkat'>;

const stateFile = 'state.json';
const pidFile = 'init.pid';

export function writeState(sys: StateCalls, bundle: string, state: RuntimeState): void {
  writeWhole(sys, join(bundle, stateFile), JSON.stringify(state));
}

export function writePid(sys: StateCalls, bundle: string, pid: number): void {
  writeWhole(sys, join(bundle, pidFile), String(pid));
}

/** Undefined when there is none. Data loss when it cannot be understood. */
export function readState(bundle: string): RuntimeState | undefined {
  let text: string;
  try {
    text = readFileSync(join(bundle, stateFile), 'utf8');
  } catch (err) {
    if (isErrno(err, 'ENOENT', 'ENOTDIR')) return undefined;
    throw wrap(err, 'reading the runtime state');
  }
  return parseState(text);
}

function parseState(text: string): RuntimeState {
  let unsafe: unknown;
  try {
    unsafe = JSON.parse(text);
  } catch {
    throw dataLoss(`${stateFile} is not JSON`);
  }
  if (typeof unsafe === 'object' && unsafe !== null) {
    const { id, pid, startTime, cgroupPaths, poststop, hostRoot, resctrl } = unsafe as Record<string, unknown>;
    const isRecord = typeof cgroupPaths === 'object' && cgroupPaths !== null;
    if (typeof id === 'string' && Number.isSafeInteger(pid) && typeof startTime === 'string' && isRecord) {
      const paths = Object.entries(cgroupPaths).map(([name, path]) => [name, String(path)] as const);
      return {
        id,
        pid: Number(pid),
        startTime,
        cgroupPaths: Object.fromEntries(paths),
        // Our own words, in a directory that nobody else can write to.
        ...(poststop === undefined ? {} : { poststop: poststop as PoststopHooks }),
        ...(Array.isArray(resctrl) ? { resctrl: resctrl.map(String) } : {}),
        ...(typeof hostRoot === 'string' ? { hostRoot } : {}),
      };
    }
  }
  throw dataLoss(`${stateFile} lacks what it must have`);
}

/** Forgets the container. Not there is success. */
export function removeState(sys: StateCalls, bundle: string): void {
  for (const file of [pidFile, stateFile]) {
    try {
      sys.unlinkat(AT_FDCWD, join(bundle, file), 0);
    } catch (err) {
      if (!isErrno(err, 'ENOENT')) throw wrap(err, `removing ${join(bundle, file)}`);
    }
  }
}

function writeWhole(sys: StateCalls, path: string, text: string): void {
  const temporary = `${path}.new`;
  try {
    const fd = sys.openat(AT_FDCWD, temporary, O_WRONLY | O_CREAT | O_TRUNC, 0o600);
    try {
      writeAll(sys, fd, Buffer.from(text));
    } finally {
      sys.close(fd);
    }
    sys.renameat(AT_FDCWD, temporary, AT_FDCWD, path);
  } catch (err) {
    throw wrap(err, `writing ${path}`);
  }
}

function writeAll(sys: StateCalls, fd: number, bytes: Buffer): void {
  for (let done = 0; done < bytes.length;) done += sys.write(fd, bytes, done) ?? 0;
}
