/**
 * Keeps V8 from marking the whole heap because of buffers that die young. What a socket gives, and what is sent, lies in
 * buffers outside of the heap, which V8 counts against the old generation from their first moment: megabytes that pass
 * through have everything marked every 10 or 20 MB, for 10 ms and more. A collection of the young generation frees the same
 * in half a millisecond; it is asked for in time, and while much passes the old generation may grow further than usual
 * before it is marked.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const freeEveryBytes = 8 * 1024 * 1024;
/** After so long without much passing everything is as before. */
const quietMs = 10_000;

let passed = 0;
let quiet: NodeJS.Timeout | undefined;
type Collect = (options: { readonly type: 'minor' }) => void;
let collect: Collect | undefined;

/** Counts buffers that passed and are not needed any more; frees them now and then. */
export function noteYoungBuffers(bytes: number): void {
  passed += bytes;
  if (passed < freeEveryBytes) return;
  passed = 0;
  collect ??= collector();
  collect({ type: 'minor' });
  if (quiet === undefined) {
    setFlagsFromString('--heap-growing-percent=200'); // of what was left by the last marking: some 30 MB
    quiet = setTimeout(() => {
      quiet = undefined;
      setFlagsFromString('--heap-growing-percent=0');
    }, quietMs).unref();
  } else quiet.refresh();
}

function collector(): Collect {
  setFlagsFromString('--expose-gc');
  const gc: unknown = runInNewContext('gc');
  setFlagsFromString('--no-expose-gc');
  return gc as Collect;
}
