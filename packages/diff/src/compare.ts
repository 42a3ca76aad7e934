/** One compare, inside a worker: the difference of two trees as a layer. */
import { notImplemented } from '@gantry/errors';
import type { Syscalls } from '@gantry/libc';
import type { CompareRequest, CompareResult } from './differ-types.ts';

/** Gives the blob's bytes to `deliver`, in order, and what they are. */
export async function compareTrees(
  sys: Syscalls,
  request: CompareRequest,
  deliver: (chunk: Uint8Array) => Promise<void>,
): Promise<CompareResult> {
  void sys;
  void deliver;
  throw notImplemented(`comparing snapshots (${request.mediaType})`);
}
