/**
 * A root file system on its directory of the host, for runtimes that want it there (runc, crun, …): our own assembles it
 * inside the container.
 */
import { Descriptors } from '../clean-up.ts';
import type { CreateRequest } from '../container.ts';
import type { Syscalls } from '@gantry/libc';
import { attachOnHost } from './on-host.ts';
import { openRootfs } from './sources.ts';

/** Mounts `request.rootfs`, which is not empty, on `path`. `detachFromHost` takes it away. Leaves nothing after a failure. */
export function mountRootfs(
  sys: Syscalls,
  request: Pick<CreateRequest, 'rootfs' | 'bundle' | 'spec'>,
  path: string,
): void {
  using descriptors = new Descriptors(sys);
  attachOnHost(sys, openRootfs(sys, request, descriptors), path);
}
