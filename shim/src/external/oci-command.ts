/**
 * Somebody else's OCI runtime as a command: `runc`'s words, which crun, runsc, youki and the wrappers of this world keep.
 *
 *   PROGRAM --root DIR --log BUNDLE/log.json --log-format json [--systemd-cgroup] COMMAND …
 */
import { accessSync, constants, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { invalidArgument, notFound, unknown } from '@gantry/errors';
import type { GantryError } from '@gantry/errors';
import type { Syscalls } from '@gantry/libc';
import { runProgram } from './program.ts';
import type { ProgramRequest } from './program.ts';

/** Which runtime, and how it is called; kept in the bundle for those who clean up after a dead shim. */
export interface OciRuntime {
  /** Absolute path. */
  readonly program: string;
  /** Where the runtime keeps its states. */
  readonly root: string;
  readonly systemdCgroup: boolean;
}

export type OciCallOptions = Pick<ProgramRequest, 'stdio' | 'input' | 'timeoutMs'>;

/** The program of that name: an absolute path, or found on PATH. Throws invalid argument when there is none. */
export function findRuntime(name: string): string {
  const directories = (process.env['PATH'] ?? '').split(':').filter((dir) => dir.startsWith('/'));
  const candidates = name.startsWith('/') ? [name] : directories.map((dir) => join(dir, name));
  const found = name.startsWith('/') || !name.includes('/') ? candidates.find(isProgram) : undefined;
  if (found === undefined) throw invalidArgument(`runtime option binary_name "${name}": no such program`);
  return found;
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

export class OciCommand {
  readonly #sys: Syscalls;
  readonly #runtime: OciRuntime;
  readonly #logFile: string;

  constructor(sys: Syscalls, runtime: OciRuntime, bundle: string) {
    this.#sys = sys;
    this.#runtime = runtime;
    this.#logFile = join(bundle, 'log.json');
    mkdirSync(runtime.root, { recursive: true, mode: 0o711 });
  }

  /** Returns what the runtime printed. Throws what it complains of, not found when it is about a process that is gone. */
  call(args: readonly string[], options: OciCallOptions): string {
    const { program, root, systemdCgroup } = this.#runtime;
    rmSync(this.#logFile, { force: true }); // what it said before is no reason now
    const flags = ['--root', root, '--log', this.#logFile, '--log-format', 'json'];
    const { status, output } = runProgram(this.#sys, {
      path: program,
      args: [...flags, ...(systemdCgroup ? ['--systemd-cgroup'] : []), ...args],
      env: [`PATH=${process.env['PATH'] ?? ''}`],
      ...options,
    });
    if (status !== 0)
      throw complaint(this.#reason() ?? (output.trim() === '' ? `exit status ${status}` : output.trim()));
    return output;
  }

  /** The last line of its log that is an error. */
  #reason(): string | undefined {
    let text: string;
    try {
      text = readFileSync(this.#logFile, 'utf8');
    } catch {
      return undefined;
    }
    for (const line of text.split('\n').toReversed()) {
      const message = errorIn(line);
      if (message !== undefined) return message;
    }
    return undefined;
  }
}

function errorIn(line: string): string | undefined {
  try {
    const { level, msg } = JSON.parse(line) as { readonly level?: unknown; readonly msg?: unknown };
    return level === 'error' && typeof msg === 'string' ? msg : undefined;
  } catch {
    return undefined; // some runtimes write other lines too
  }
}

/** By the words that containerd's shim looks for. */
function complaint(said: string): GantryError {
  if (/process already finished|container not running|container is not running|no such process/i.test(said))
    return notFound('process already finished', {}, unknown(said));
  if (/does not exist/.test(said)) return notFound('no such container', {}, unknown(said));
  return unknown(said);
}
