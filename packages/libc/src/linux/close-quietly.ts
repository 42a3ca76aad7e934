/** Closing on an error path, where the first error is the one that counts. */
import { declare } from '../native.ts';

const c = declare('glibc', {
  close: 'int close(int fd)',
});

/** close(2) without a verdict. */
export function closeQuietly(...fds: readonly number[]): void {
  for (const fd of fds) c.close(fd);
}
