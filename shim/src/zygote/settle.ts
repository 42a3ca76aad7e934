/** Brings the heaps into the state that children shall share: what was needed once is gone, what stays lies still. */
import { setFlagsFromString } from 'node:v8';
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
  settleMalloc();
}
