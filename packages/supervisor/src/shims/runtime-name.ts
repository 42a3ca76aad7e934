/**
 * Which shim a runtime name stands for: ours, or a binary that containerd's naming rule finds.
 *
 *   name                                       shim
 *   ─────────────────────────────────────────  ──────────────────────────────────────────────────────────────
 *   a key of the configuration's [runtimes]    what it says, read by the lines below
 *   io.containerd.gantry.v1, …runc.v2, gantry  ours, with our runtime
 *   an absolute path                           that program
 *   containerd-shim-…                          that program, on PATH
 *   X.NAME.VERSION                             containerd-shim-NAME-VERSION, on PATH or beside gantryd
 */
import { accessSync, constants, statSync } from 'node:fs';
import path from 'node:path';
import { isAny, packAny, runcOptions, unpackAny } from '@gantry/api';
import type { wellKnown } from '@gantry/api';
import { messageOf, unknown } from '@gantry/errors';

/** Where a container's shim comes from; `binary` is an absolute path. */
export type Runtime = { readonly kind: 'own' } | { readonly kind: 'foreign'; readonly binary: string };

/** Names that start our shim with our runtime: our own, and the one clients ask for by habit. */
const ours: ReadonlySet<string> = new Set(['io.containerd.gantry.v1', 'io.containerd.runc.v2', 'gantry']);

const own: Runtime = { kind: 'own' };
const resolving = 'failed to start shim: failed to resolve runtime path';

/** Throws, in containerd's words, when no shim stands behind the name. `mapped` is the configuration's [runtimes]. */
export function resolveRuntime(name: string, mapped: ReadonlyMap<string, string> = new Map()): Runtime {
  const meant = mapped.get(name) ?? name;
  if (ours.has(meant)) return own;
  if (meant.startsWith('/')) {
    if (isProgram(meant)) return { kind: 'foreign', binary: meant };
    throw notInstalled(name, meant);
  }
  const program = meant.startsWith('containerd-shim-') ? meant : programOf(meant);
  const binary = program.includes('/') ? undefined : find(program);
  if (binary === undefined) throw notInstalled(name, program);
  return { kind: 'foreign', binary };
}

function programOf(name: string): string {
  const parts = name.split('.');
  if (parts.length < 2 || parts[0] === '' || name.includes('/')) {
    throw unknown(
      `${resolving}: invalid runtime name ${name}, correct runtime name should be either format like ` +
        '`io.containerd.runc.v1` or a full path to the binary',
    );
  }
  return `containerd-shim-${parts.at(-2) ?? ''}-${parts.at(-1) ?? ''}`;
}

/** On PATH, then beside the program that we are. The working directory is nobody's place for a program. */
function find(program: string): string | undefined {
  const beside = path.dirname(process.argv[1] ?? process.execPath);
  const directories = (process.env['PATH'] ?? '').split(':').filter((dir) => dir.startsWith('/'));
  return [...directories, beside].map((dir) => path.join(dir, program)).find(isProgram);
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

function notInstalled(name: string, binary: string): Error {
  return unknown(`${resolving}: runtime "${name}" binary not installed "${binary}": file does not exist`);
}

/** The options with the OCI runtime that the configuration means by the one they name; the very same when it means none. */
export function mapBinary(
  options: wellKnown.Any | undefined,
  binaries: ReadonlyMap<string, string>,
): wellKnown.Any | undefined {
  if (binaries.size === 0 || options === undefined || !isAny(runcOptions.Options, options)) return options;
  const given = unpackAny(runcOptions.Options, options);
  const binaryName = binaries.get(given.binaryName);
  return binaryName === undefined ? options : packAny(runcOptions.Options, { ...given, binaryName });
}

/** The options as JSON, for the bundle's `options.json`; `{}` when there are none or they are of another kind. */
export function optionsAsJson(options: wellKnown.Any | undefined): string {
  if (options === undefined || !options.typeUrl.endsWith('containerd.runc.v1.Options')) return '{}\n';
  try {
    return `${JSON.stringify(unpackAny(runcOptions.Options, options))}\n`;
  } catch (err) {
    throw unknown(`runtime options: ${messageOf(err)}`, {}, err);
  }
}
