/** A process added to a running container: reserved by Exec, executed by Start, forgotten by Delete. */
import { unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { notFound } from '@gantry/errors';
import { isErrno, processStartTime } from '@gantry/libc';
import type { ProcessCalls, TerminalSize } from '@gantry/libc';
import type { Process } from '@gantry/oci';
import type { StdioStrings } from '../stdio/open-stdio.ts';
import type { ProcessStdio } from '../stdio/process-stdio.ts';
import { ExitLatch } from './exit-latch.ts';
import type { Exit } from './reaper.ts';
import { SerialQueue } from './serial-queue.ts';
import { checkExecOperation } from './states.ts';
import type { Operation, ProcessState } from './states.ts';

export class ExecProcess {
  readonly id: string;
  readonly process: Process;
  readonly strings: StdioStrings;
  readonly latch = new ExitLatch();
  readonly queue = new SerialQueue();
  readonly #pidFile: string;
  state: ProcessState = 'created';
  /** 0 until it runs. */
  pid = 0;
  #startTime: bigint | undefined;
  #stdio: ProcessStdio | undefined;
  #size: TerminalSize | undefined;

  constructor(id: string, bundle: string, process: Process, strings: StdioStrings) {
    this.id = id;
    this.process = process;
    this.strings = strings;
    this.#pidFile = join(bundle, `${id}.pid`);
  }

  get stdio(): ProcessStdio | undefined {
    return this.#stdio;
  }

  /** The process as it is to be started: with the size that its terminal was given meanwhile, so that it never sees another. */
  get processToStart(): Process {
    if (this.#size === undefined || this.process.terminal !== true) return this.process;
    return { ...this.process, consoleSize: { width: this.#size.columns, height: this.#size.rows } };
  }

  /** Throws what the state table answers. */
  check(operation: Operation): void {
    checkExecOperation(this.state, operation);
  }

  /** It runs. Takes the stdio over; the caller has claimed the exit. */
  born(born: { pid: number; startTime: bigint; console: number | undefined }, stdio: ProcessStdio): void {
    this.pid = born.pid;
    this.#startTime = born.startTime;
    this.#stdio = stdio;
    this.state = 'running';
    stdio.processBorn(born.console);
    writeFileSync(this.#pidFile, `${born.pid}`, { mode: 0o600 });
  }

  /** It was reaped. */
  exited(exit: Exit): void {
    this.state = 'stopped';
    this.#stdio?.processExited();
    this.latch.settle(exit);
  }

  /** A size given before the start is applied at the start. */
  resize(size: TerminalSize): void {
    this.check('resize');
    this.#size = size;
    this.#stdio?.resize(size);
  }

  /** Not found when it has exited. */
  kill(sys: Pick<ProcessCalls, 'kill'>, signal: number): void {
    this.check('kill');
    if (processStartTime(this.pid) !== this.#startTime) throw notFound('process already finished');
    try {
      sys.kill(this.pid, signal);
    } catch (err) {
      if (isErrno(err, 'ESRCH')) throw notFound('process already finished');
      throw err;
    }
  }

  closeStdin(): void {
    this.#stdio?.closeStdin();
  }

  /** Passes on what is left of its output and forgets it. The exit of one that never ran is status 0 at no time. */
  async remove(drainTimeoutMs: number): Promise<Exit> {
    this.check('delete');
    await this.#stdio?.drained(drainTimeoutMs);
    this.#stdio?.close();
    removeFile(this.#pidFile);
    this.state = 'deleted';
    this.latch.fail(notFound(`process does not exist ${this.id}`));
    return this.latch.exit ?? { pid: this.pid, exitStatus: 0, exitedAtNs: 0n };
  }
}

function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch (err) {
    if (!isErrno(err, 'ENOENT')) throw err;
  }
}
