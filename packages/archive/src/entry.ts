/** One member of a tar archive, as the reader reports it and the writer takes it. */

/** POSIX type flags by name; `GNU` and `PAX` helper records never surface. */
export type EntryType = 'file' | 'hardlink' | 'symlink' | 'character' | 'block' | 'directory' | 'fifo';

/** Names are bytes: a tar does not say which encoding they are in. Times are nanoseconds since the epoch. */
export interface EntryHeader {
  readonly type: EntryType;
  /** As stored, also when it is absolute or holds `..`: unsafe until resolved below a root. */
  readonly name: Buffer;
  /** Target of a hard or symbolic link, as stored; empty otherwise. */
  readonly linkName: Buffer;
  /** Permission bits with setuid, setgid and sticky (0o7777). */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly userName: string;
  readonly groupName: string;
  /** Bytes of content that follow; 0 for everything but files. */
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly atimeNs?: bigint | undefined;
  readonly ctimeNs?: bigint | undefined;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  /** Extended attributes by full name (`security.capability`). */
  readonly xattrs: ReadonlyMap<string, Buffer>;
}
