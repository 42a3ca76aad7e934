/**
 * Keeps V8 from marking the whole heap because of buffers that die young. What a socket gives, and what is sent, lies in
 * buffers outside of the heap, which V8 counts against the old generation from their first moment: megabytes that pass
 * through would have everything marked every 25 MB, for 10 ms and more, where a collection of the young generation frees
 * the same in less than one.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Less than what makes V8 begin to mark (some 25 MB above a heap of 10). */
const freeEveryBytes = 12 * 1024 * 1024;

let passed = 0;
type Collect = (options: { readonly type: 'minor' }) => void;
let collect: Collect | undefined;

/** Counts buffers that passed and are not needed any more; frees them now and then. */
export function noteYoungBuffers(bytes: number): void {
  passed += bytes;
  if (passed < freeEveryBytes) return;
  passed = 0;
  collect ??= collector();
  collect({ type: 'minor' });
}

function collector(): Collect {
  setFlagsFromString('--expose-gc');
  const gc: unknown = runInNewContext('gc');
  setFlagsFromString('--no-expose-gc');
  return gc as Collect;
}
