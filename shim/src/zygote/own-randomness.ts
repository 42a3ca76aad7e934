/**
 * A stream of `Math.random` of its own for a forked process. V8 seeds its stream once: all children of one zygote would
 * go on in the same place. Nothing of ours that must be unique comes from it, but a library's may. What comes from
 * node:crypto or the kernel needs no care.
 */
import { closeSync, openSync, readSync } from 'node:fs';

/** To be called in the child. */
export function reseedMathRandom(): void {
  const seed = new Uint32Array(4);
  const source = openSync('/dev/urandom', 'r');
  readSync(source, seed);
  closeSync(source);
  Math.random = stream(seed);
}

/** Numbers from 0 to below 1: xorshift of 128 bits (G. Marsaglia, 2003), two steps for 53 bits. */
export function stream([x = 0, y = 0, z = 0, w = 0]: Uint32Array): () => number {
  const next = (): number => {
    const t = x ^ (x << 11);
    [x, y, z] = [y, z, w];
    w = (w ^ (w >>> 19) ^ t ^ (t >>> 8)) | 0;
    return w >>> 0;
  };
  if ((x | y | z | w) === 0) w = 1; // the one state that it would never leave
  for (let step = 0; step < 16; step++) next(); // a seed of few bits takes some steps to spread
  return () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53;
}
