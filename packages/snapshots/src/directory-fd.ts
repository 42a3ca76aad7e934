/**
 * Walking trees that a container may be changing meanwhile: directories are opened once, never through a symlink, and
 * everything below is reached through `/proc/self/fd/<n>/`, which is what openat(2) does. A directory swapped for a
 * symlink is an error or a file, never a way out.
 */
import { constants, open, readdir } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

/** An open directory. Close it. */
export interface DirectoryFd {
  /** The names in it, as bytes: file names need not be UTF-8. */
  names(): Promise<Buffer[]>;
  /** The path of an entry, good as long as the directory is open; the last component is not protected. */
  entry(name: Buffer): Buffer;
  close(): Promise<void>;
}

/** Opens a directory; a symlink in the last component is refused (ENOTDIR or ELOOP). */
export async function openDirectory(path: string | Buffer): Promise<DirectoryFd> {
  const handle: FileHandle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  const base = Buffer.from(`/proc/self/fd/${handle.fd}/`);
  return {
    names: async () => readdir(base, { encoding: 'buffer' }),
    entry: (name) => Buffer.concat([base, name]),
    close: async () => handle.close(),
  };
}
