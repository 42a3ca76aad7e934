/** Brings the heaps into the state that children shall share: what was needed once is gone, what stays lies still. */
import { getHeapCodeStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { settleMalloc } from '@gantry/libc';

let collect: (() => void) | undefined;

/** A full collection, now. */
export function collectGarbage(): void {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as () => void;
  }
  collect();
}

/**
 * Every page of the old heap is emptied into new ones: what is left lies beside one another (see `crowdAddresses`), on as few
 * pages as hold it.
 */
export function settle(): void {
  setFlagsFromString('--compact-on-every-full-gc');
  for (let round = 0; round < 3; round++) collectGarbage();
  setFlagsFromString('--no-compact-on-every-full-gc');
  finishSweeping();
  settleMalloc();
}

/**
 * A collection leaves pages to be swept when somebody needs room; in a child that would write all over pages which it
 * otherwise shares. Whoever walks the heap, as this does, sweeps them first.
 */
function finishSweeping(): void {
  getHeapCodeStatistics();
}
