/**
 * Finding the program of a process inside the container, with the error texts that callers of runc look for. Their class
 * is unknown, as it is with runc: "not found" is kept for containers.
 */
import { posix } from 'node:path';
import { unknown } from '@gantry/errors';
import type { GantryError } from '@gantry/errors';
import { AT_FDCWD, isErrno, S_IFDIR, S_IFMT } from '@gantry/libc';
import type { FileCalls, FileStat } from '@gantry/libc';

const EXECUTE_BITS = 0o111;

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
export function findExecutable(sys: Pick<FileCalls, 'fstatat'>, name: string, env: readonly string[]): string {
  if (name.includes('/')) {
    const fault = examine(sys, name);
    if (fault !== undefined) throw fault;
    return name;
  }
  const path = env.findLast((entry) => entry.startsWith('PATH='))?.slice('PATH='.length) ?? '';
  for (const directory of path.split(':')) {
    if (path === '') break;
    const candidate = posix.join(directory === '' ? '.' : directory, name);
    if (examine(sys, candidate) !== undefined) continue;
    if (posix.isAbsolute(candidate)) return candidate;
    throw unknown(`exec: ${quoted(name)}: cannot run executable found relative to current directory`);
  }
  throw notFoundInPath(name);
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
