/** Where spare shims come from: processes that listen on the socket they were given and have no container yet. */
import type { ProcessIdentity } from './process-identity.ts';

export interface Nursery {
  /**
   * Makes a spare shim; resolves when it listens on `socketPath`. Throws resource exhausted when the machine has no room
   * for a process, unavailable or deadline exceeded when it does not come up; no process is left then.
   */
  bear(socketPath: string): Promise<ProcessIdentity>;
  /** Ends what the nursery itself keeps running; every `bear` from then on throws unavailable. */
  close(): Promise<void>;
}
