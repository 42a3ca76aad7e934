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

export function settle(): void {
  for (let round = 0; round < 3; round++) collectGarbage();
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
