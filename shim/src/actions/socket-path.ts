/** Where a shim listens when nobody says: the place containerd's own shims use. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';

const directory = '/run/containerd/s';

/** One path for one (supervisor socket, namespace, container). 82 bytes: a socket path may have 107. */
export function socketPathFor(shim: {
  readonly address: string;
  readonly namespace: string;
  readonly id: string;
}): string {
  const name = createHash('sha256')
    .update(join(shim.address, shim.namespace, shim.id))
    .digest('hex');
  return join(directory, name);
}
