/**
 * The runtime options of a Create (`containerd.runc.v1.Options`): for the runtime that lives in the shim, or for somebody
 * else's that they name. What is asked for and cannot be had is refused by name.
 */
import { isAbsolute, join } from 'node:path';
import { runcOptions, unpackAny } from '@gantry/api/shim';
import type { wellKnown } from '@gantry/api/shim';
import { invalidArgument } from '@gantry/errors';
import { findRuntime } from './external/oci-command.ts';
import type { OciRuntime } from './external/oci-command.ts';
import type { StdioOwner } from './stdio/ends.ts';

export interface RuntimeOptions {
  readonly noPivot: boolean;
  readonly noNewKeyring: boolean;
  readonly systemdCgroup: boolean;
  /** The cgroup the shim itself moves to; empty: it stays. */
  readonly shimCgroup: string;
  /** Where criu keeps its log when it restores; empty: in the bundle. */
  readonly criuWorkPath: string;
  readonly stdioOwner?: StdioOwner;
  /** Whose containers these are, when not our own runtime's. */
  readonly external?: OciRuntime;
}

/** Runtime names that clients write by habit and that mean the one inside. */
const ownRuntimeNames = new Set(['', 'runc', 'gantry-runtime']);

/** Where containerd has the states of runtimes, a directory for each namespace below it. */
const defaultRoot = '/run/containerd/runc';

/** `options` may be absent or empty. Throws invalid argument or not implemented, naming the field. */
export function parseRuntimeOptions(options: wellKnown.Any | undefined, namespace: string): RuntimeOptions {
  if (options === undefined || options.typeUrl === '') {
    return { noPivot: false, noNewKeyring: false, systemdCgroup: false, shimCgroup: '', criuWorkPath: '' };
  }
  const typeName = options.typeUrl.slice(options.typeUrl.lastIndexOf('/') + 1);
  if (typeName !== runcOptions.Options.typeName) throw invalidArgument(`runtime options of type ${options.typeUrl}`);
  const given = unpackAny(runcOptions.Options, options);
  const external = ownRuntimeNames.has(given.binaryName) ? undefined : externalRuntime(given, namespace);
  const owned = given.ioUid !== 0 || given.ioGid !== 0;
  return {
    noPivot: given.noPivotRoot,
    noNewKeyring: given.noNewKeyring,
    systemdCgroup: given.systemdCgroup,
    shimCgroup: given.shimCgroup,
    criuWorkPath: given.criuWorkPath,
    ...(owned ? { stdioOwner: { uid: given.ioUid, gid: given.ioGid } } : {}),
    ...(external === undefined ? {} : { external }),
  };
}

function externalRuntime({ binaryName, root, systemdCgroup }: runcOptions.Options, namespace: string): OciRuntime {
  if (root !== '' && !isAbsolute(root)) throw invalidArgument(`runtime option root "${root}": not an absolute path`);
  const program = findRuntime(binaryName);
  return { program, root: join(root === '' ? defaultRoot : root, namespace), systemdCgroup };
}
