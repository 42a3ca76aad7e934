/**
 * The runtime options of a Create (`containerd.runc.v1.Options`), as far as they mean something to a runtime that lives
 * in the shim. What is asked for and cannot be had is refused by name.
 */
import { runcOptions, unpackAny } from '@gantry/api/shim';
import type { wellKnown } from '@gantry/api/shim';
import { invalidArgument, notImplemented } from '@gantry/errors';
import type { StdioOwner } from './stdio/ends.ts';

export interface RuntimeOptions {
  readonly noPivot: boolean;
  readonly noNewKeyring: boolean;
  /** The cgroup the shim itself moves to; empty: it stays. */
  readonly shimCgroup: string;
  readonly stdioOwner?: StdioOwner;
}

/** Runtime names that clients write by habit and that mean the one inside. */
const ownRuntimeNames = new Set(['', 'runc', 'gantry-runtime']);

/** `options` may be absent or empty. Throws invalid argument or not implemented, naming the field. */
export function parseRuntimeOptions(options: wellKnown.Any | undefined): RuntimeOptions {
  if (options === undefined || options.typeUrl === '') return { noPivot: false, noNewKeyring: false, shimCgroup: '' };
  const typeName = options.typeUrl.slice(options.typeUrl.lastIndexOf('/') + 1);
  if (typeName !== runcOptions.Options.typeName) throw invalidArgument(`runtime options of type ${options.typeUrl}`);
  const given = unpackAny(runcOptions.Options, options);
  if (!ownRuntimeNames.has(given.binaryName)) {
    throw notImplemented(`runtime option binary_name "${given.binaryName}": external OCI runtimes`);
  }
  if (given.systemdCgroup) throw notImplemented('runtime option systemd_cgroup');
  const owned = given.ioUid !== 0 || given.ioGid !== 0;
  return {
    noPivot: given.noPivotRoot,
    noNewKeyring: given.noNewKeyring,
    shimCgroup: given.shimCgroup,
    ...(owned ? { stdioOwner: { uid: given.ioUid, gid: given.ioGid } } : {}),
  };
}
