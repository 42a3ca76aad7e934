/**
 * The runtime's own record of a container in its bundle: `state.json`, and `init.pid` for those who look for it.
 *
 * It is there for the case that the shim dies: it is written before the control group is made and again when init is
 * born, so that `deleteLeftovers` can always find what there is. Written whole, by rename.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { dataLoss, wrap } from '@gantry/errors';
import { isErrno } from '@gantry/libc';

export interface RuntimeState {
  readonly id: string;
  /** 0 until init is born. */
  readonly pid: number;
  /** Start time of init, a decimal number of clock ticks; empty until it is born. */
  readonly startTime: string;
  /** Controller → directory, as `Cgroup.paths` gives them. */
  readonly cgroupPaths: Readonly<Record<string, string>>;
}

const stateFile = 'state.json';
const pidFile = 'init.pid';

export function writeState(bundle: string, state: RuntimeState): void {
  writeWhole(join(bundle, stateFile), JSON.stringify(state));
}

export function writePid(bundle: string, pid: number): void {
  writeWhole(join(bundle, pidFile), String(pid));
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
    const { id, pid, startTime, cgroupPaths } = unsafe as Record<string, unknown>;
    const isRecord = typeof cgroupPaths === 'object' && cgroupPaths !== null;
    if (typeof id === 'string' && Number.isSafeInteger(pid) && typeof startTime === 'string' && isRecord) {
      const paths = Object.entries(cgroupPaths).map(([name, path]) => [name, String(path)] as const);
      return { id, pid: Number(pid), startTime, cgroupPaths: Object.fromEntries(paths) };
    }
  }
  throw dataLoss(`${stateFile} lacks what it must have`);
}

/** Forgets the container. Not there is success. */
export function removeState(bundle: string): void {
  rmSync(join(bundle, pidFile), { force: true });
  rmSync(join(bundle, stateFile), { force: true });
}

function writeWhole(path: string, text: string): void {
  const temporary = `${path}.new`;
  try {
    writeFileSync(temporary, text, { mode: 0o600 });
    renameSync(temporary, path);
  } catch (err) {
    throw wrap(err, `writing ${path}`);
  }
}
