/** The shim's programs, found through its package: the supervisor knows the room only by name. */
import { createRequire } from 'node:module';
import path from 'node:path';

function inShimPackage(file: string): string {
  const manifest = createRequire(import.meta.url).resolve('@gantry/shim/package.json');
  return path.join(path.dirname(manifest), file);
}

/** The shim binary. */
export function shimEntry(): string {
  return inShimPackage('bin/containerd-shim-gantry-v1.js');
}

/** The program that forks shims. */
export function zygoteEntry(): string {
  return inShimPackage('bin/gantry-zygote.js');
}

/** The program gantryd itself. */
export function gantrydEntry(): string {
  const manifest = createRequire(import.meta.url).resolve('@gantry/supervisor/package.json');
  return path.join(path.dirname(manifest), 'bin/gantryd.js');
}

/**
 * A process that forks may have no helper threads in play: V8 keeps its work to itself, and Node's pool, which V8 would
 * hand part of a collection to, is empty. A child would wait for threads that it does not have.
 */
export const forkingFlags: readonly string[] = ['--single-threaded', '--v8-pool-size=0'];

/** Nothing of the supervisor's environment reaches a shim but PATH: NODE_OPTIONS and the like least of all. */
export function shimEnvironment(): Readonly<Record<string, string>> {
  return { PATH: process.env['PATH'] ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' };
}
