/** Signals this command gets are meant for the container. */
import { constants } from 'node:os';
import { isCode, messageOf } from '@gantry/errors';
import type { TaskProcess } from '@gantry/client';

const forwarded = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const;

/**
 * Passes signals on until the returned function is called. A second SIGINT becomes SIGKILL: a pid 1 without a handler
 * ignores the first, and the user has said twice what they want.
 */
export function forwardSignals(target: TaskProcess, terminal: boolean): () => void {
  let interrupts = 0;
  const listeners = forwarded.map((name) => {
    const listener = (): void => {
      if (name === 'SIGINT') interrupts += 1;
      const signal = interrupts > 1 ? constants.signals.SIGKILL : constants.signals[name];
      target.kill(signal).catch((err: unknown) => {
        // Not started yet, or ended already.
        if (isCode(err, 'not found') || isCode(err, 'failed precondition')) return;
        process.stderr.write(`gantry: passing on ${name}: ${messageOf(err)}\n`);
      });
    };
    process.on(name, listener);
    return { name, listener };
  });
  // In raw mode a Ctrl-Z is a byte; nothing else stops us.
  const ignoreStop = (): void => {};
  if (terminal) process.on('SIGTSTP', ignoreStop);
  return () => {
    for (const { name, listener } of listeners) process.off(name, listener);
    process.off('SIGTSTP', ignoreStop);
  };
}
