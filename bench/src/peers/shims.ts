/** Finds the shims of each side's containers. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { argumentsOf, parents } from '../host/processes.ts';

/** gantry notes each container's shim in its bundle: `<pid> <start time>`. */
export function gantryShims(state: string, namespace: string): number[] {
  const dir = path.join(state, 'shims', namespace);
  return namesIn(dir).flatMap((id) => {
    try {
      const pid = Number(readFileSync(path.join(dir, id, 'shim.pid'), 'utf8').split(' ')[0]);
      return pid > 0 ? [pid] : [];
    } catch {
      return []; // A container that is being made or removed.
    }
  });
}

/** containerd's shims are told their namespace and the daemon's socket. */
export function containerdShims(address: string, namespace: string): number[] {
  return [...parents().keys()].filter((pid) => {
    const words = argumentsOf(pid);
    const isShim = path.basename(words[0] ?? '').startsWith('containerd-shim-runc');
    return isShim && words.includes(namespace) && words.includes(address);
  });
}

function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}
