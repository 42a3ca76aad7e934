/**
 * The C library's heap before forks. What a process has freed lies between what it still uses; a child that allocates
 * there writes on pages that it shares with its siblings, one here and one there, and each is copied for it.
 */
import { declare } from './native.ts';

const c = declare('glibc', {
  // void *malloc(size_t size); the memory is the C library's, its address a number
  malloc: 'uint64_t malloc(size_t size)',
  // void free(void *ptr)
  free: 'void free(uint64_t address)',
  // void *sbrk(intptr_t increment): 0 says where the heap ends
  sbrk: 'uint64_t sbrk(intptr_t increment)',
  // int malloc_trim(size_t pad): gives pages that are free as a whole back to the kernel
  trim: 'int malloc_trim(size_t pad)',
});

/** More than any hole is likely to have, less than what malloc(3) maps for itself (M_MMAP_THRESHOLD). */
const large = 120_000;
/** From here on sizes are taken one by one: they have lists of their own (glibc's small bins and its cache of a thread). */
const small = 1032;
const granule = 16;
/** What is left at the end of a trimmed heap is less. */
const slack = 8192;

/**
 * Fills the holes of the heap and gives free pages back (malloc_trim(3), a GNU extension). What is allocated afterwards lies
 * together, on pages that nobody has written before.
 */
export function settleMalloc(): void {
  c.trim(0);
  const end = c.sbrk(0) - slack;
  for (let size = large; size > granule; size = nextSmaller(size)) fillHoles(size, end);
  c.trim(0);
}

/** Allocates until a block comes from beyond `end`. What filled a hole is never freed. */
function fillHoles(size: number, end: number): void {
  let block = c.malloc(size);
  while (block !== 0 && block < end) block = c.malloc(size);
  c.free(block);
}

function nextSmaller(size: number): number {
  return size > small ? Math.floor((size * 3) / 4 / granule) * granule + granule / 2 : size - granule;
}
