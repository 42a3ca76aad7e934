/**
 * Where the memory of a process that will fork lies. V8 asks for each of its pages at a random address, and the kernel keeps
 * three pages of tables for every such place: half a megabyte that each child has of its own and that each fork copies.
 * While everything below the libraries is taken, the kernel gives addresses beside one another instead.
 */
import { readFileSync } from 'node:fs';
import { declare } from './native.ts';

const PROT_NONE = 0;
const MAP_PRIVATE = 0x2;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MAP_FIXED_NOREPLACE = 0x100000;
/** Above the program and its heap, which grows upwards; V8 asks for a lower address once in 4,000 times. */
const bottom = 1n << 34n;
/** V8 asks for addresses of 46 bits (x86-64) or fewer; libraries and stack are above. */
const top = 1n << 46n;

const c = declare('glibc', {
  // void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset): nothing is ever stored there
  mmap: 'uint64_t mmap(uint64_t addr, size_t length, int prot, int flags, int fd, long offset)',
  munmap: 'int munmap(uint64_t addr, size_t length)',
});

/**
 * Takes what is free of the addresses that V8 asks for, without any memory behind them; the returned function gives them
 * back. What cannot be taken (a limit of address space) stays as it is: this is a matter of size only.
 */
export function crowdAddresses(): () => void {
  const taken: (readonly [bigint, bigint])[] = [];
  for (const [start, length] of freeStretches(readFileSync('/proc/self/maps', 'latin1'))) {
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    if (BigInt(c.mmap(start, length, PROT_NONE, flags, -1, 0)) === start) taken.push([start, length]);
  }
  return () => {
    for (const [start, length] of taken) c.munmap(start, length);
  };
}

function freeStretches(maps: string): (readonly [start: bigint, length: bigint])[] {
  const free: (readonly [bigint, bigint])[] = [];
  let end = bottom;
  for (const line of maps.split('\n')) {
    const [from, to] = line.slice(0, line.indexOf(' ')).split('-');
    const start = from === undefined || from === '' ? top : BigInt(`0x${from}`);
    if (start > end) free.push([end, (start < top ? start : top) - end]);
    if (start >= top) break;
    const next = BigInt(`0x${to}`);
    if (next > end) end = next;
  }
  return free;
}
