/**
 * What a bundle has when its shim is not ours, by containerd's names:
 *
 *   ./                 0700; 0710 and of the group of the container's root where that is not the host's
 *   shim-binary-path   the shim's program; that it is there says that the shim is not ours
 *   config.json        as the client wrote it
 *   rootfs/            where the shim mounts the root file system, on the host
 *   work/              the shim's own
 *   log                what the shim says
 *   bootstrap.json     where it listens
 *   shim.pid           which process it is, if it says so
 *   sandbox            the sandbox whose shim it is, and not the container's own
 */
import { chmod, chown, mkdir, open, readFile, rename, rmdir, writeFile } from 'node:fs/promises';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { wrap } from '@gantry/errors';
import { isErrno, linux, MNT_DETACH, UMOUNT_NOFOLLOW } from '@gantry/libc';
import { hostIdOf, parseSpec } from '@gantry/oci';
import { parseBootstrap } from './bootstrap.ts';
import type { Bootstrap } from './bootstrap.ts';

const binaryFile = 'shim-binary-path';
const sandboxFile = 'sandbox';

/** Whether the bundle's shim is that of a sandbox, which outlives the container. On the event loop. */
export function isInSandbox(bundle: string): boolean {
  return existsSync(path.join(bundle, sandboxFile));
}

/** The program of the bundle's shim; undefined when the shim is ours, or there is no bundle. On the event loop. */
export function foreignBinary(bundle: string): string | undefined {
  try {
    const text = readFileSync(path.join(bundle, binaryFile), 'utf8');
    return text.startsWith('/') ? text : undefined;
  } catch (err) {
    if (isErrno(err, 'ENOENT', 'ENOTDIR')) return undefined;
    throw err;
  }
}

/** Fills a bundle that was just made; `shim-binary-path` first, so that whoever finds it half-made knows what it is. */
export async function fillBundle(
  bundle: string,
  binary: string,
  config: Uint8Array,
  sandboxId?: string,
): Promise<void> {
  if (sandboxId !== undefined) await writeFile(path.join(bundle, sandboxFile), sandboxId, { mode: 0o600 });
  await writeFile(path.join(bundle, binaryFile), binary, { mode: 0o600 });
  await writeFile(path.join(bundle, 'config.json'), config, { mode: 0o600 });
  await mkdir(path.join(bundle, 'rootfs'), { mode: 0o711 });
  await mkdir(path.join(bundle, 'work'), { mode: 0o711 });
  await (await open(path.join(bundle, 'log'), 'a', 0o600)).close();
  const gid = mappedRootGroup(config);
  if (gid === undefined || gid === 0) return;
  // Its root, another one than ours, has to get at the root file system.
  await chown(bundle, process.getuid?.() ?? 0, gid);
  await chmod(bundle, 0o710);
}

/** The host's id of group 0 of a container in a user namespace; undefined for others, and for what is no configuration. */
function mappedRootGroup(config: Uint8Array): number | undefined {
  try {
    const { linux: { gidMappings = [] } = {} } = parseSpec(Buffer.from(config));
    return gidMappings.length === 0 ? undefined : hostIdOf(gidMappings, 0);
  } catch {
    // The shim says what is wrong with it.
    return undefined;
  }
}

export async function writeBootstrap(bundle: string, bootstrap: Bootstrap): Promise<void> {
  const file = path.join(bundle, 'bootstrap.json');
  await writeFile(`${file}.new`, JSON.stringify(bootstrap), { mode: 0o600 });
  await rename(`${file}.new`, file);
}

/**
 * Where the bundle's shim listens; undefined when nobody knows. A shim of the older kind has noted it itself, in
 * `address`, which is there before we have heard of it.
 */
export async function readBootstrap(bundle: string): Promise<Bootstrap | undefined> {
  for (const file of ['bootstrap.json', 'address']) {
    try {
      return parseBootstrap(await readFile(path.join(bundle, file)));
    } catch {
      // Not there, or only half there.
    }
  }
  return undefined;
}

/** Unmounts what is on the bundle's `rootfs` and removes the directory, never what is in it. Idempotent. */
export async function removeRootfs(bundle: string): Promise<void> {
  const rootfs = path.join(bundle, 'rootfs');
  for (;;) {
    try {
      linux.umount2(rootfs, MNT_DETACH | UMOUNT_NOFOLLOW);
    } catch (err) {
      if (isErrno(err, 'EINVAL', 'ENOENT', 'ENOTDIR')) break;
      throw wrap(err, 'unmounting the rootfs');
    }
  }
  await rmdir(rootfs).catch((err: unknown) => {
    if (!isErrno(err, 'ENOENT', 'ENOTDIR')) throw err;
  });
}
