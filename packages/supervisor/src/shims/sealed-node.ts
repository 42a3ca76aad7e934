/** The node binary that shims run from: a view of it that no container can write through. */
import { mkdir, realpath } from 'node:fs/promises';
import path from 'node:path';
import { messageOf } from '@gantry/errors';
import { linux, openSealedExecutable } from '@gantry/libc';

export interface SealedNode {
  /** What to execute; valid while this process lives and `close` was not called. */
  readonly path: string;
  readonly close: () => void;
}

/** Where the kernel or our privileges do not allow a sealed view, the plain binary with a warning. */
export async function sealedNode(
  state: string,
  log: { warn(fields: object, text: string): void },
): Promise<SealedNode> {
  const empty = path.join(state, 'empty');
  await mkdir(empty, { recursive: true, mode: 0o700 });
  const plain = await realpath(process.execPath);
  try {
    const fd = openSealedExecutable(linux, plain, empty);
    return { path: `/proc/${process.pid}/fd/${fd}`, close: () => linux.close(fd) };
  } catch (err) {
    log.warn({ err: messageOf(err) }, 'shims run from the plain node binary: a sealed view of it cannot be had here');
    return { path: plain, close: () => undefined };
  }
}
