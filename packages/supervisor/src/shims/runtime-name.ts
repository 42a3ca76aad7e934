/** Which shim a runtime name stands for. */
import { runcOptions, unpackAny } from '@gantry/api';
import type { wellKnown } from '@gantry/api';
import { messageOf, notImplemented, unknown } from '@gantry/errors';

/** Names that start our shim with our runtime: our own, and the one clients ask for by habit. */
const ours: ReadonlySet<string> = new Set(['io.containerd.gantry.v1', 'io.containerd.runc.v2']);

/** Throws, in containerd's words, when no shim stands behind the name. */
export function checkRuntimeName(name: string): void {
  if (ours.has(name)) return;
  const resolving = 'failed to start shim: failed to resolve runtime path';
  const parts = name.split('.');
  if (!name.startsWith('/') && (parts.length < 2 || parts[0] === '')) {
    throw unknown(
      `${resolving}: invalid runtime name ${name}, correct runtime name should be either format like ` +
        '`io.containerd.runc.v1` or a full path to the binary',
    );
  }
  const binary = name.startsWith('/') ? name : `containerd-shim-${parts.at(-2) ?? ''}-${parts.at(-1) ?? ''}`;
  throw unknown(`${resolving}: runtime "${name}" binary not installed "${binary}": file does not exist`);
}

/** Throws not implemented for options that only another OCI runtime could honour. */
export function checkRuntimeOptions(options: wellKnown.Any | undefined): void {
  if (options === undefined || options.value.length === 0 || !options.typeUrl.endsWith('containerd.runc.v1.Options'))
    return;
  const { binaryName } = unpackAny(runcOptions.Options, options);
  if (binaryName !== '' && binaryName !== 'runc') {
    throw notImplemented(`runtime option binary_name ${JSON.stringify(binaryName)}: external OCI runtimes`);
  }
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
