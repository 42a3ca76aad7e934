/**
 * Built filters on disk, for processes that live for one container: libseccomp takes some 10 ms and 1.5 MB of a process's
 * memory for a usual profile, and every container of a host has the same.
 *
 * A file holds what the program was built from and the program, so that nothing depends on its name, which is only a
 * short digest. It is believed when it belongs to us and nobody else may write it; anything else is built anew.
 */
import { closeSync, constants, fstatSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isErrno } from '../syscall-error.ts';

/** Between the two parts of a file: no JSON has a byte 0. */
const SEPARATOR = Buffer.from([0]);
const WRITABLE_BY_OTHERS = 0o022;

let directory: string | undefined;

/** Where filters are kept from now on; undefined is nowhere. The directory is made in
 * an existing one when it is missing (0700). */
export function useFilterCache(absolutePath: string | undefined): void {
  directory = absolutePath;
}

/** The program that was built from exactly this; undefined when there is none. Never throws. */
export function cachedProgram(source: string): Buffer | undefined {
  if (directory === undefined) return undefined;
  try {
    const content = readOwn(join(directory, nameOf(source)));
    const head = Buffer.byteLength(source);
    if (content === undefined || content.length <= head + 1 || content[head] !== 0) return undefined;
    return content.toString('utf8', 0, head) === source ? content.subarray(head + 1) : undefined;
  } catch {
    return undefined;
  }
}

/** Keeps a program for the next one who asks. A failure costs time only and is not reported. */
export function cacheProgram(source: string, program: Buffer): void {
  if (directory === undefined) return;
  try {
    makeDirectory(directory);
    const path = join(directory, nameOf(source));
    const temporary = `${path}.${process.pid}`;
    writeFileSync(temporary, Buffer.concat([Buffer.from(source), SEPARATOR, program]), { mode: 0o600, flag: 'wx' });
    renameSync(temporary, path);
  } catch {
    // The next one builds it again.
  }
}

function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (err) {
    if (!isErrno(err, 'EEXIST')) throw err;
  }
}

function readOwn(path: string): Buffer | undefined {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.uid !== process.geteuid?.() || (stat.mode & WRITABLE_BY_OTHERS) !== 0) return undefined;
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** FNV-1a of 32 bits and the length: short, and no cryptography is loaded for it. Two sources of one name take turns. */
function nameOf(source: string): string {
  let hash = 0x811c9dc5;
  for (let index = 0; index < source.length; index++) hash = Math.imul(hash ^ source.charCodeAt(index), 0x01000193);
  return `${(hash >>> 0).toString(16)}-${source.length}`;
}
