/** Memory limits. 0 and absent mean unset, -1 unlimited; `swap` is memory and swap together. */
import { failedPrecondition, invalidArgument } from '@gantry/errors';
import { isErrno, linux } from '@gantry/libc';
import { toInt64 } from '@gantry/oci';
import type { LinuxMemory } from '@gantry/oci';
import { limitError, parseCounter, readGroupFile, writeGroupFile, writeLimit } from './group-file.ts';
import type { GroupFileCalls } from './group-file.ts';

const field = (name: keyof LinuxMemory): string => `linux.resources.memory.${name}`;

function bytes(value: number | undefined): bigint {
  return value === undefined ? 0n : toInt64(value);
}

/** Throws when a limit is not above what is in use already. */
function checkUsage(directory: string, usageFile: string, memory: LinuxMemory, sys: GroupFileCalls): void {
  if (memory.checkBeforeUpdate !== true) return;
  const usage = parseCounter(readGroupFile(directory, usageFile, sys));
  for (const name of ['limit', 'swap'] as const) {
    const limit = bytes(memory[name]);
    if (limit > 0n && limit <= usage) {
      const what = name === 'limit' ? 'memory limit' : 'memory+swap limit';
      throw failedPrecondition(`${field(name)}: rejecting ${what} ${limit} <= usage ${usage}`);
    }
  }
}

/** memory.* of v1 (Documentation/admin-guide/cgroup-v1/memory.rst). */
export function writeMemoryV1(directory: string, memory: LinuxMemory, sys: GroupFileCalls = linux): void {
  checkUsage(directory, 'memory.usage_in_bytes', memory, sys);
  const limit = bytes(memory.limit);
  let swap = bytes(memory.swap);
  // Memory without a limit under a limit of memory and swap would not be unlimited.
  const swapFile = 'memory.memsw.limit_in_bytes';
  if (limit === -1n && swap === 0n && readGroupFile(directory, swapFile, sys) !== undefined) swap = -1n;
  const writeMemory = () => {
    if (limit !== 0n) writeLimit(directory, 'memory.limit_in_bytes', String(limit), field('limit'), sys);
  };
  const writeSwap = () => {
    if (swap !== 0n) writeLimit(directory, swapFile, String(swap), field('swap'), sys);
  };
  // The kernel wants memory ≤ memory+swap at every moment: what grows is written outside in.
  const current =
    limit !== 0n && swap !== 0n ? parseCounter(readGroupFile(directory, 'memory.limit_in_bytes', sys)) : 0n;
  if (swap === -1n || current < swap) {
    writeSwap();
    writeMemory();
  } else {
    writeMemory();
    writeSwap();
  }
  const reservation = bytes(memory.reservation);
  if (reservation !== 0n) {
    writeLimit(directory, 'memory.soft_limit_in_bytes', String(reservation), field('reservation'), sys);
  }
  if (memory.swappiness !== undefined) {
    if (memory.swappiness > 100) throw invalidArgument(`${field('swappiness')}: ${memory.swappiness} is above 100`);
    writeLimit(directory, 'memory.swappiness', String(memory.swappiness), field('swappiness'), sys);
  }
  if (memory.disableOOMKiller === true) {
    writeLimit(directory, 'memory.oom_control', '1', field('disableOOMKiller'), sys);
  }
}

/**
 * The v2 limit of swap alone; undefined leaves it as it is. Throws invalid argument when there is none that keeps the
 * promise of the pair.
 */
export function swapAlone(limit: bigint, swap: bigint): bigint | 'max' | undefined {
  if (swap === 0n) return limit === -1n ? 'max' : undefined;
  if (swap === -1n) return 'max';
  if (limit <= 0n) throw invalidArgument(`${field('swap')}: unable to set swap limit without memory limit`);
  if (swap < limit) throw invalidArgument(`${field('swap')}: memory+swap limit should be >= memory limit`);
  return swap - limit;
}

const orMax = (limit: bigint): string => (limit === -1n ? 'max' : String(limit));

/** memory.* of v2 (Documentation/admin-guide/cgroup-v2.rst). Swappiness and the OOM killer have no switch there. */
export function writeMemoryV2(directory: string, memory: LinuxMemory, sys: GroupFileCalls = linux): void {
  checkUsage(directory, 'memory.current', memory, sys);
  const limit = bytes(memory.limit);
  const swap = swapAlone(limit, bytes(memory.swap));
  if (swap !== undefined) writeSwapV2(directory, String(swap), sys);
  if (limit !== 0n) writeLimit(directory, 'memory.max', orMax(limit), field('limit'), sys);
  const reservation = bytes(memory.reservation);
  if (reservation !== 0n) writeLimit(directory, 'memory.low', orMax(reservation), field('reservation'), sys);
}

/** Without swap accounting there is no file: "all" and "none" are then true already. */
function writeSwapV2(directory: string, text: string, sys: GroupFileCalls): void {
  const file = 'memory.swap.max';
  try {
    writeGroupFile(directory, file, text, sys);
  } catch (err) {
    if (isErrno(err, 'ENOENT') && (text === 'max' || text === '0')) return;
    throw limitError(err, file, text, field('swap'));
  }
}
