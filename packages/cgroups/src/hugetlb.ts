/** Huge page limits, one pair of files a page size: what is used and, where the kernel has it, what is reserved. */
import { isErrno } from '@gantry/libc';
import { toUint64 } from '@gantry/oci';
import type { LinuxHugepageLimit } from '@gantry/oci';
import { limitError, writeGroupFile, writeLimit } from './group-file.ts';

/** `suffix` is the name of the limit's file: `limit_in_bytes` in v1, `max` in v2. */
export function writeHugetlb(directory: string, limits: readonly LinuxHugepageLimit[], suffix: string): void {
  for (const [index, { pageSize, limit }] of limits.entries()) {
    const field = `linux.resources.hugepageLimits[${index}]`;
    const text = String(toUint64(limit));
    writeLimit(directory, `hugetlb.${pageSize}.${suffix}`, text, field);
    const reserved = `hugetlb.${pageSize}.rsvd.${suffix}`;
    try {
      writeGroupFile(directory, reserved, text);
    } catch (err) {
      // Kernels before 5.7 account use only.
      if (!isErrno(err, 'ENOENT')) throw limitError(err, reserved, text, field);
    }
  }
}
