/** What kinds of files there are in a layer, by the type bits of a mode. */
import type { EntryType } from '@gantry/archive';
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG } from '@gantry/libc';

/** Sockets have no place in a layer. */
export const entryTypes: ReadonlyMap<number, EntryType> = new Map([
  [S_IFREG, 'file'],
  [S_IFDIR, 'directory'],
  [S_IFLNK, 'symlink'],
  [S_IFCHR, 'character'],
  [S_IFBLK, 'block'],
  [S_IFIFO, 'fifo'],
]);
