/**
 * What the command line says when it fails: one record in the log and, when the log is a file, the sentence on standard
 * error as well. Callers such as containerd's shim read the last record of level error from a JSON log.
 */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { isErrno, linux, POLLOUT } from '@gantry/libc';

export type Level = 'debug' | 'info' | 'warning' | 'error';

/** Writes to the log that the options name; made first, so that everything later can be reported. */
export class Report {
  readonly #file: string;
  readonly #json: boolean;
  readonly #debug: boolean;

  constructor({ logFile, logFormat, debug }: { logFile: string; logFormat: 'text' | 'json'; debug: boolean }) {
    this.#file = logFile;
    this.#json = logFormat === 'json';
    this.#debug = debug;
  }

  /** Throws when the log cannot be written: nobody would see what fails later. */
  check(): void {
    if (this.#file !== '' && this.#file !== '/dev/stderr') closeSync(this.#open());
  }

  debug(message: string): void {
    if (this.#debug) this.#write('debug', message);
  }

  warn(message: string): void {
    this.#write('warning', message);
  }

  /** Says why the command fails. */
  error(message: string): void {
    this.#write('error', message);
    if (this.#file !== '' && this.#file !== '/dev/stderr') writeAll(2, `${message}\n`);
  }

  #open(): number {
    const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK, O_NOCTTY } = constants;
    // A fifo without a reader is refused at once, where a plain open would wait for one.
    return openSync(this.#file, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY, 0o644);
  }

  #write(level: Level, message: string): void {
    const time = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
    const line = this.#json
      ? JSON.stringify({ level, msg: message, time })
      : `time="${time}" level=${level} msg=${JSON.stringify(message)}`;
    if (this.#file === '' || this.#file === '/dev/stderr') {
      writeAll(2, `${line}\n`);
      return;
    }
    let fd: number;
    try {
      fd = this.#open();
    } catch (err) {
      writeAll(2, `${line}\n${String(err)}\n`);
      return;
    }
    try {
      writeAll(fd, `${line}\n`);
    } finally {
      closeSync(fd);
    }
  }
}

/** A reader that is gone or slow must not turn a message into another failure. */
function writeAll(fd: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length;) {
    try {
      done += writeSync(fd, bytes, done);
    } catch {
      return;
    }
  }
}

/** Prints a command's result. Waits for a slow reader. */
export function print(text: string): void {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length;) {
    try {
      done += writeSync(1, bytes, done);
    } catch (err) {
      if (!isErrno(err, 'EAGAIN')) throw err;
      linux.poll([{ fd: 1, events: POLLOUT }], -1);
    }
  }
}
