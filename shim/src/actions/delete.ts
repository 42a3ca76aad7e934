/**
 * `delete`: run when the shim is dead. Ends and removes what is left of the container without asking any shim, and
 * prints a DeleteResponse. Can be repeated; an unknown bundle gives 137 as well, because that is what a container whose
 * end nobody saw is taken for.
 */
import { lstatSync, readFileSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { nowNs, taskV3, timestampFromNs } from '@gantry/api/shim';
import { linux } from '@gantry/libc';
import { deleteLeftovers } from '@gantry/runtime';
import type { ShimArguments } from '../arguments.ts';
import { deleteExternal, readNote } from '../external/external-note.ts';
import { readExitRecord } from '../process/exit-record.ts';

/** 128 + SIGKILL. */
const killedStatus = 137;

/** Returns the exit code. */
export function deleteAction(given: ShimArguments): number {
  const bundle = given.bundle === '' ? process.cwd() : given.bundle;
  const pid = readPid(join(bundle, 'init.pid'));
  deleteLeftovers(linux, bundle);
  const note = readNote(bundle);
  if (note !== undefined) deleteExternal(linux, bundle, note);
  removeSocketOf(bundle);
  const record = readExitRecord(bundle);
  const response = taskV3.DeleteResponse.create({
    pid: record?.pid ?? pid,
    exitStatus: record?.exitStatus ?? killedStatus,
    exitedAt: timestampFromNs(record?.exitedAtNs ?? nowNs()),
  });
  writeSync(1, taskV3.DeleteResponse.encode(response));
  return 0;
}

/** 0 when the file is missing or holds no pid. */
function readPid(path: string): number {
  try {
    const pid = Number(readFileSync(path, 'utf8').trim());
    return Number.isSafeInteger(pid) && pid > 0 ? pid : 0;
  } catch {
    return 0;
  }
}

/** The dead daemon's socket, where `start` has noted it. */
function removeSocketOf(bundle: string): void {
  try {
    const path = readFileSync(join(bundle, 'address'), 'utf8')
      .trim()
      .replace(/^unix:\/\//, '');
    if (lstatSync(path).isSocket()) unlinkSync(path);
  } catch {
    // No address, or it is gone already: nothing to remove.
  }
}
