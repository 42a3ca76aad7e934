/** Which file the worker runs from: the bundle that the build makes, or its modules where that is missing or old. */
import { statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Rooms that the bundle is made of; an installed tree has nothing that says when they were compiled. */
const rooms = ['diff', 'archive', 'libc', 'oci', 'errors'];

/** The path of a module for fork(). */
export function workerProgram(): string {
  const bundle = here('./bundle/worker.cjs');
  const made = timeOf(bundle);
  const isCurrent = made > 0 && rooms.every((room) => timeOf(here(`../../${room}/dist/.tsbuildinfo`)) <= made);
  return isCurrent ? bundle : here('./worker.js');
}

function here(file: string): string {
  return fileURLToPath(new URL(file, import.meta.url));
}

function timeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
