/**
 * Makes a fork of a Node process possible: V8 marks its heap MADV_DONTFORK, so that a child would find it unmapped and
 * die at its first JavaScript access. One madvise(MADV_DOFORK) over the address space just before the fork undoes that.
 *
 * madvise(2) stops with EINVAL at a mapping that is not ordinary memory ([vvar], a device's, an io_uring's ring), and
 * what lies above it would stay unswept. So the address space is cut at such mappings: they are looked up once, and
 * again when a sweep meets one that was not known.
 */
import { readFileSync } from 'node:fs';
import { EINVAL, ENOMEM } from './errno.ts';
import { declare, errno, failure } from './native.ts';

const MADV_DOFORK = 11;
/** Below it nothing is ever mapped (vm.mmap_min_addr). */
const BOTTOM = 0x10000n;
/** The end of user space: 47 bits on x86-64, 48 on arm64. */
const TOP = process.arch === 'arm64' ? 0xffff_ffff_f000n : 0x7fff_ffff_f000n;

const c = declare('glibc', {
  // int madvise(void *addr, size_t length, int advice); the address is a number, nothing is dereferenced
  madvise: 'int madvise(uint64_t addr, uint64_t length, int advice)',
});

interface Range {
  readonly start: bigint;
  readonly end: bigint;
}

/** Lengths are computed beforehand: a sweep must allocate nothing (see `readyToFork`). */
interface Stretch {
  readonly start: bigint;
  readonly length: bigint;
}

let sweepable: readonly Stretch[] | undefined;

/** Undoes MADV_DONTFORK on every mapping of this process, in some microseconds. */
export function heapSweep(): void {
  sweepable ??= rangesBetween(specialMappings(readMaps()));
  if (sweepable.every(sweep)) return;
  // A mapping that refuses has appeared since. Find it by trying each one, and remember where it is.
  const refusing = mappings(readMaps()).filter(({ start, end }) => !sweep({ start, length: end - start }));
  sweepable = rangesBetween(refusing);
  if (!sweepable.every(sweep)) throw failure('madvise', EINVAL, 'MADV_DOFORK');
}

/** False when the range holds a mapping that refuses. Holes are no error: ENOMEM is reported after all was done. */
function sweep({ start, length }: Stretch): boolean {
  if (c.madvise(start, length, MADV_DOFORK) === 0) return true;
  const code = errno();
  if (code === ENOMEM) return true;
  if (code === EINVAL) return false;
  throw failure('madvise', code, 'MADV_DOFORK');
}

function readMaps(): string {
  return readFileSync('/proc/self/maps', 'latin1');
}

function parseRange(line: string): Range {
  const [start, end] = line.slice(0, line.indexOf(' ')).split('-');
  return { start: BigInt(`0x${start}`), end: BigInt(`0x${end}`) };
}

function mappings(maps: string): Range[] {
  return maps
    .split('\n')
    .filter(Boolean)
    .map(parseRange)
    .filter((range) => range.end <= TOP);
}

/** The mappings known to refuse by their names, so that the usual process needs no second look. */
function specialMappings(maps: string): Range[] {
  return maps
    .split('\n')
    .filter((line) => /\[vvar|\[vdso|anon_inode:|\/dev\//.test(line))
    .map(parseRange)
    .filter((range) => range.end <= TOP);
}

function rangesBetween(excluded: readonly Range[]): readonly Stretch[] {
  const stretches: Stretch[] = [];
  let start = BOTTOM;
  for (const hole of excluded) {
    if (hole.start > start) stretches.push({ start, length: hole.start - start });
    start = hole.end;
  }
  if (start < TOP) stretches.push({ start, length: TOP - start });
  return stretches;
}
