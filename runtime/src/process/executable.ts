/**
 * Finding the program of a process inside the container, with the error texts that callers of runc look for. Their class
 * is unknown, as it is with runc: "not found" is kept for containers.
 */
import { posix } from 'node:path';
import { unknown } from '@gantry/errors';
import type { GantryError } from '@gantry/errors';
import {
  AT_FDCWD,
  isErrno,
  O_NOCTTY,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  RESOLVE_NO_MAGICLINKS,
  S_IFDIR,
  S_IFMT,
  S_IFREG,
} from '@gantry/libc';
import type { FileCalls, FileStat } from '@gantry/libc';

const EXECUTE_BITS = 0o111;

/** Looking a program up and into its first bytes. */
export type LookupCalls = Pick<FileCalls, 'fstatat' | 'fstatatIfPresent' | 'openat2' | 'read' | 'close'>;

function quoted(name: string): string {
  return JSON.stringify(name);
}

function isExecutable({ mode }: FileStat): boolean {
  return (mode & S_IFMT) !== S_IFDIR && (mode & EXECUTE_BITS) !== 0;
}

/**
 * The path of `name` as execve(2) takes it: a name with a slash is taken as it is, another is looked for in the
 * directories of the container's PATH. To be called inside the container's root, as the process's user, in its cwd.
 */
export function findExecutable(sys: LookupCalls, name: string, env: readonly string[]): string {
  if (name.includes('/')) {
    const fault = examine(sys, name);
    if (fault !== undefined) throw fault;
    refuseMagic(sys, name, name);
    return name;
  }
  const path = env.findLast((entry) => entry.startsWith('PATH='))?.slice('PATH='.length) ?? '';
  for (const directory of path.split(':')) {
    if (path === '') break;
    const candidate = posix.join(directory === '' ? '.' : directory, name);
    // Most directories do not have it, which is no error worth describing.
    if (!looksExecutable(sys, candidate)) continue;
    if (posix.isAbsolute(candidate)) {
      refuseMagic(sys, candidate, name);
      return candidate;
    }
    throw unknown(`exec: ${quoted(name)}: cannot run executable found relative to current directory`);
  }
  throw notFoundInPath(name);
}

function looksExecutable(sys: Pick<FileCalls, 'fstatatIfPresent'>, path: string): boolean {
  try {
    const stat = sys.fstatatIfPresent(AT_FDCWD, path, 0);
    return stat !== undefined && isExecutable(stat);
  } catch (err) {
    if (isErrno(err, 'ELOOP', 'EACCES')) return false;
    throw err;
  }
}

/** Why a file cannot be executed; undefined when it looks as if it could. */
function examine(sys: Pick<FileCalls, 'fstatat'>, path: string): GantryError | undefined {
  try {
    return isExecutable(sys.fstatat(AT_FDCWD, path, 0)) ? undefined : denied(path);
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return unknown(`exec: ${quoted(path)}: stat ${path}: no such file or directory`);
    if (isErrno(err, 'ENOTDIR')) return unknown(`exec: ${quoted(path)}: stat ${path}: not a directory`);
    if (isErrno(err, 'ELOOP')) return unknown(`exec: ${quoted(path)}: stat ${path}: too many levels of symbolic links`);
    if (isErrno(err, 'EACCES')) return denied(path);
    throw err;
  }
}

/** The kernel looks at this much of a file for `#!` and follows this many interpreters (execve(2)). */
const SCRIPT_HEAD_BYTES = 256;
const MAX_INTERPRETERS = 5;

/**
 * Refuses a program, or an interpreter of it, that is reached through a magic link: /proc/self/exe is the runtime's own
 * binary as long as the program has not been executed, and would be run inside the container (CVE-2019-5736). This
 * keeps an image from doing it; a process that exchanges the file after we looked finds a binary that it cannot write to
 * where the runtime itself runs from a sealed view (sealed-executable.ts).
 */
function refuseMagic(sys: LookupCalls, unsafePath: string, name: string): void {
  let next: string | undefined = unsafePath;
  for (let depth = 0; next !== undefined && depth <= MAX_INTERPRETERS; depth++) {
    try {
      next = interpreterOf(sys, next);
    } catch (err) {
      if (isErrno(err, 'ELOOP')) throw denied(name);
      // Not readable, or not there: execve will say so.
      if (isErrno(err, 'EACCES', 'EPERM', 'ENOENT', 'ENOTDIR', 'ENXIO', 'ENODEV')) return;
      throw err;
    }
  }
}

/** The interpreter named by a script's first line; undefined for anything else. */
function interpreterOf(sys: LookupCalls, unsafePath: string): string | undefined {
  const resolve = RESOLVE_NO_MAGICLINKS;
  sys.close(sys.openat2(AT_FDCWD, unsafePath, { flags: O_PATH, resolve }));
  if ((sys.fstatat(AT_FDCWD, unsafePath, 0).mode & S_IFMT) !== S_IFREG) return undefined;
  const fd = sys.openat2(AT_FDCWD, unsafePath, { flags: O_RDONLY | O_NONBLOCK | O_NOCTTY, resolve });
  try {
    const head = Buffer.alloc(SCRIPT_HEAD_BYTES);
    const length = sys.read(fd, head) ?? 0;
    return /^#![ \t]*([^ \t\n\0]+)/.exec(head.toString('latin1', 0, length))?.[1];
  } finally {
    sys.close(fd);
  }
}

function denied(name: string): GantryError {
  return unknown(`exec: ${quoted(name)}: permission denied`);
}

function notFoundInPath(name: string): GantryError {
  return unknown(`exec: ${quoted(name)}: executable file not found in $PATH`);
}

/** The error of an execve(2) that failed, worded as runc words it: `exec /bin/x: exec format error`. */
export function executeError(err: unknown, path: string): unknown {
  if (isErrno(err, 'EACCES')) return unknown(`exec ${path}: permission denied`);
  if (isErrno(err, 'ENOENT')) return unknown(`exec ${path}: no such file or directory`);
  if (isErrno(err, 'ENOEXEC')) return unknown(`exec ${path}: exec format error`);
  return unknown(`exec ${path}: ${err instanceof Error ? err.message : String(err)}`);
}
