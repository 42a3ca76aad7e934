/** Stdio without a terminal: the process gets the client's files themselves and the shim copies nothing. */
import type { ChildDescriptors, ProcessStdio } from './process-stdio.ts';
import { InputEnd, OutputEnd } from './ends.ts';
import type { EndCalls, StdioOwner } from './ends.ts';
import type { LoggingProgram } from './logging-program.ts';
import type { OutputStream } from './output-stream.ts';
import type { StdioTargets } from './target.ts';

export class DirectStdio implements ProcessStdio {
  readonly #stdin: InputEnd | undefined;
  readonly #stdout: OutputStream | undefined;
  readonly #stderr: OutputStream | undefined;
  readonly #program: LoggingProgram | undefined;
  readonly childDescriptors: ChildDescriptors;

  /** Opens all three; what was opened is closed again when one of them fails. `program` is ended by `close`. */
  constructor(sys: EndCalls, targets: StdioTargets, owner?: StdioOwner, program?: LoggingProgram) {
    this.#program = program;
    const options = { nonBlocking: false, ...(owner === undefined ? {} : { owner }) };
    try {
      this.#stdin = InputEnd.open(sys, targets.stdin, options);
      this.#stdout = program?.stdout ?? OutputEnd.open(sys, 'stdout', targets.stdout, options);
      this.#stderr = program?.stderr ?? OutputEnd.open(sys, 'stderr', targets.stderr, options);
    } catch (err) {
      this.close();
      throw err;
    }
    this.childDescriptors = {
      stdin: this.#stdin?.readFd ?? -1,
      stdout: this.#stdout?.writeFd ?? -1,
      stderr: this.#stderr?.writeFd ?? -1,
    };
  }

  processBorn(): void {
    this.#stdin?.handedOver();
    this.#stdout?.handedOver();
    this.#stderr?.handedOver();
  }

  resize(): void {
    // There is no terminal; containerd answers such a call with success as well.
  }

  closeStdin(): void {
    this.#stdin?.closeWriteSide();
  }

  processExited(): void {
    this.#stdin?.close();
    this.#stdout?.release();
    this.#stderr?.release();
  }

  async drained(): Promise<void> {
    // Nothing passes through the shim.
  }

  close(): void {
    this.#stdin?.close();
    this.#stdout?.close();
    this.#stderr?.close();
    this.#program?.stop();
  }
}
