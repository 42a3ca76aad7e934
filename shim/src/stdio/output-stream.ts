/** One output of a process, as stdio objects handle it, whatever is at the other end. */
export interface OutputStream {
  /** For the process, or for the shim's own copying. */
  readonly writeFd: number;
  /** The process has its copy. */
  handedOver(): void;
  /** The process has exited: readers get their end of file. */
  release(): void;
  /** Lets go of everything. Can be repeated. */
  close(): void;
}
