/**
 * `external.json` in the bundle: that the container is somebody else's runtime's, and whose. Written before the runtime is
 * called the first time, so that whoever cleans up knows whom to ask.
 */
import { readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isCode, messageOf, wrap } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import { detachFromHost } from '@gantry/runtime';
import { OciCommand } from './oci-command.ts';
import type { OciRuntime } from './oci-command.ts';

const fileName = 'external.json';
const deleteTimeoutMs = 10_000;

export interface ExternalNote extends OciRuntime {
  readonly id: string;
}

export function writeNote(bundle: string, note: ExternalNote): void {
  writeFileSync(join(bundle, fileName), JSON.stringify(note), { mode: 0o600 });
}

/** undefined: the container is our own runtime's, or there is none. Throws what is no note. */
export function readNote(bundle: string): ExternalNote | undefined {
  let text: string;
  try {
    text = readFileSync(join(bundle, fileName), 'utf8');
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return undefined;
    throw err;
  }
  try {
    const { id, program, root, systemdCgroup } = JSON.parse(text) as ExternalNote;
    return { id: String(id), program: String(program), root: String(root), systemdCgroup: systemdCgroup === true };
  } catch (err) {
    throw wrap(err, join(bundle, fileName));
  }
}

/** Where the root file system is mounted. */
export function rootfsOf(bundle: string): string {
  return join(bundle, 'rootfs');
}

/**
 * Has the runtime delete the container, running or not, and takes away what was made for it. Goes on past a failure of the
 * runtime and throws it at the end; can be repeated.
 */
export function deleteExternal(sys: Syscalls, bundle: string, note: ExternalNote): void {
  let failure: unknown;
  try {
    new OciCommand(sys, note, bundle).call(['delete', '--force', note.id], { timeoutMs: deleteTimeoutMs });
  } catch (err) {
    if (!isCode(err, 'not found')) failure = err;
  }
  const rootfs = rootfsOf(bundle);
  detachFromHost(sys, rootfs);
  try {
    rmdirSync(rootfs);
  } catch (err) {
    if (!isErrno(err, 'ENOENT')) failure ??= err;
  }
  if (failure !== undefined) throw wrap(failure, `${note.program} delete: ${messageOf(failure)}`);
  try {
    rmdirSync(note.root); // made for the first container of the namespace, and this was the last
  } catch {
    // There are others.
  }
  for (const file of ['log.json', fileName]) rmSync(join(bundle, file), { force: true });
}
