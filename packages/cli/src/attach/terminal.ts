/** The user's terminal in raw mode, and back. */
import { invalidArgument } from '@gantry/errors';

/** Throws invalid argument when stdin is no terminal although one was asked for. */
export function requireTerminal(): void {
  if (!process.stdin.isTTY) throw invalidArgument('-t with -i needs a terminal, and stdin is none');
}

/** Puts the terminal into raw mode; the returned function, and any exit of this process, restores it. */
export function rawTerminal(): () => void {
  if (!process.stdin.isTTY) return () => {};
  process.stdin.setRawMode(true);
  const restore = (): void => {
    process.off('exit', restore);
    process.stdin.setRawMode(false);
  };
  process.on('exit', restore);
  return restore;
}

/** The size of the terminal stdout is, if it is one. */
export function terminalSize(): { readonly columns: number; readonly rows: number } | undefined {
  const { columns, rows } = process.stdout;
  return process.stdout.isTTY && columns > 0 ? { columns, rows } : undefined;
}
