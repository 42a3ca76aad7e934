/** What children do not inherit. */
import { CLOSE_RANGE_CLOEXEC, linux } from '@gantry/libc';

/** LMDB's descriptors, and whatever the process was started with, are nothing for shims and differs. */
export function keepDescriptorsFromChildren(): void {
  linux.closeRange(3, 0xffff_ffff, CLOSE_RANGE_CLOEXEC);
}
