/** `kill`: a signal for init, or for everybody. */
import { failedPrecondition, invalidArgument, isCode } from '@gantry/errors';
import { SIGNAL_MAX, signals } from '@gantry/libc';
import type { Command } from '../command.ts';
import { ContainerLock } from '../state-root.ts';
import { StoredContainer } from '../stored-container.ts';

export const kill: Command = {
  name: 'kill',
  usage: 'kill [options] ID [SIGNAL]',
  summary: "send a signal (TERM) to a container's init",
  flags: [{ name: 'all', aliases: ['a'], kind: 'switch', help: 'to every process of the container' }],
  words: [1, 2],
  run({ root }, { given, rest: [id = '', name = 'SIGTERM'] }) {
    const signal = parseSignal(name);
    using _ = new ContainerLock(root.existing(id));
    const stored = StoredContainer.load(root, id);
    const all = given.on('all');
    if (!stored.isAlive()) {
      // What an init that shared its pid namespace has left behind can still be reached.
      if (all && stored.cgroup.killAll(signal) > 0) return 0;
      if (all) return 0;
      throw failedPrecondition('container not running');
    }
    try {
      stored.open().kill(signal, { all });
    } catch (err) {
      if (isCode(err, 'not found')) throw failedPrecondition('container not running');
      throw err;
    }
    return 0;
  },
};

/** A number, or a name with or without SIG in either case. */
export function parseSignal(text: string): number {
  if (/^\d+$/.test(text)) {
    const number = Number(text);
    if (number <= SIGNAL_MAX) return number;
    throw invalidArgument(`unknown signal ${JSON.stringify(text)}`);
  }
  const upper = text.toUpperCase();
  const number = signals[upper.startsWith('SIG') ? upper : `SIG${upper}`];
  if (number === undefined) throw invalidArgument(`unknown signal ${JSON.stringify(text)}`);
  return number;
}
