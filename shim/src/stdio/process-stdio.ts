/** The stdio of one process, init or exec: what its owner may ask of it, whether by files or through a terminal. */
import type { TerminalSize } from '@gantry/libc';

export interface ChildDescriptors {
  /** -1 is the null device. */
  readonly stdin: number;
  readonly stdout: number;
  readonly stderr: number;
}

/**
 * Life: made before the process, `processBorn` after its clone, `processExited` when it was reaped, `close` at Delete
 * or when the process was never born. Every method can be repeated.
 */
export interface ProcessStdio {
  /** What becomes 0, 1 and 2 of the process; owned by this object. */
  readonly childDescriptors: ChildDescriptors;
  /** The process has its copies. `console` is the pty's master, which this object owns from now on. */
  processBorn(console: number | undefined): void;
  /** No effect without a terminal; before the birth it is remembered. */
  resize(size: TerminalSize): void;
  closeStdin(): void;
  /** Clients get what is left and then the end of file. */
  processExited(): void;
  /** Resolves when everything the process wrote was passed on, at the latest after `timeoutMs`. */
  drained(timeoutMs: number): Promise<void>;
  close(): void;
}
