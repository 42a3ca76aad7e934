/** The user's terminal in raw mode, and back. */
import { invalidArgument } from '@gantry/errors';
import { linux } from '@gantry/libc';

/** Throws invalid argument when stdin is no terminal although one was asked for. */
export function requireTerminal(): void {
  if (!process.stdin.isTTY) throw invalidArgument('-t with -i needs a terminal, and stdin is none');
}

/**
 * Puts the terminal into raw mode; the returned function, and any exit of this process, restores it. Node's own raw
 * mode is not used: it goes on turning the newlines of the container's terminal into carriage return and newline.
 */
export function rawTerminal(): () => void {
  if (!process.stdin.isTTY) return () => {};
  const { fd } = process.stdin;
  const earlier = linux.makeRaw(fd);
  const restore = (): void => {
    process.off('exit', restore);
    linux.restoreTerminal(fd, earlier);
  };
  process.on('exit', restore);
  return restore;
}

/** The size of the terminal stdout is, if it is one. */
export function terminalSize(): { readonly columns: number; readonly rows: number } | undefined {
  const { columns, rows } = process.stdout;
  return process.stdout.isTTY && columns > 0 ? { columns, rows } : undefined;
}
