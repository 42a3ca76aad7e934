/** `--pid-file`: the host's pid of a process, for whoever supervises it. */
import { closeSync, constants, openSync, renameSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { wrap } from '@gantry/errors';

/** Written whole: a reader finds no file or the number, without a newline. An empty path is nothing to do. */
export function writePidFile(path: string, pid: number): void {
  if (path === '') return;
  const temporary = join(dirname(path), `.${basename(path)}`);
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
  try {
    const fd = openSync(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o666);
    try {
      writeSync(fd, String(pid));
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (err) {
    throw wrap(err, `writing the pid file ${path}`);
  }
}
