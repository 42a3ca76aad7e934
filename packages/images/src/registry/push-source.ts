/** What a push is given, and what came of it. */
import { failedPrecondition } from '@gantry/errors';
import type { HostClient } from './host-client.ts';
import { capableHosts } from './repository.ts';
import type { Repository, Turn } from './repository.ts';

/** Content that can be read again from any offset, as often as it takes. */
export interface PushSource {
  read(offset: number): AsyncIterable<Uint8Array>;
}

export interface PushOptions {
  readonly signal?: AbortSignal | undefined;
  /** Repositories of the same registry that have the blob; the best is tried. */
  readonly mountFrom?: readonly string[];
  /** Sends blobs in pieces of this size; absent: in one request. */
  readonly chunkBytes?: number | undefined;
  /** How many bytes have gone out; may go back when a part has to be sent again. */
  readonly onProgress?: ((sentBytes: number) => void) | undefined;
}

/** `exists`: it was there. `mounted`: taken over from another repository without sending it. */
export type PushOutcome = 'exists' | 'mounted' | 'pushed';

/** Pushes go to one host: the first that may be pushed to. Throws failed precondition when there is none. */
export function pushTurn(repository: Repository): Turn {
  const [host]: (HostClient | undefined)[] = capableHosts(repository, 'push');
  if (host === undefined) {
    throw failedPrecondition(`no host of ${repository.reference.domain} may be pushed to: see its hosts.toml`);
  }
  return { host, retry: true };
}
