/** `events`: a container's use of resources, and its OOM kills, as one JSON object a line. */
import { failedPrecondition, invalidArgument } from '@gantry/errors';
import { linux, monotonicMs, POLLIN } from '@gantry/libc';
import { bigJson } from '../big-json.ts';
import type { Command } from '../command.ts';
import { eventData } from '../event-data.ts';
import { print } from '../report.ts';
import { StoredContainer } from '../stored-container.ts';

const DEFAULT_INTERVAL_MS = 5000;
const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

export const events: Command = {
  name: 'events',
  usage: 'events [options] ID',
  summary: "print a container's use of resources, again and again",
  flags: [
    { name: 'interval', kind: 'text', help: 'pause between two lines, such as 500ms or 1m (default: 5s)' },
    { name: 'stats', kind: 'switch', help: 'print one line and end' },
  ],
  words: [1, 1],
  run({ root }, { given, rest: [id = ''] }) {
    const intervalMs = parseInterval(given.text('interval'));
    const stored = StoredContainer.load(root, id);
    if (!stored.isAlive()) throw failedPrecondition(`container with id ${id} is not running`);
    if (given.on('stats')) printStats(stored);
    else watch(stored, intervalMs);
    return 0;
  },
};

/** `1m30s`, `500ms`; above 0. */
function parseInterval(text: string): number {
  if (text === '') return DEFAULT_INTERVAL_MS;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  const total = parts.reduce((sum, [, amount, unit = 's']) => sum + Number(amount) * (units[unit] ?? 0), 0);
  if (parts.map(([part]) => part).join('') !== text || total <= 0) {
    throw invalidArgument(`duration interval must be greater than 0, not ${JSON.stringify(text)}`);
  }
  return total;
}

function printStats(stored: StoredContainer): void {
  const data = eventData(stored.cgroup.stats(), stored.cgroup.paths());
  print(`${bigJson({ type: 'stats', id: stored.id, data })}\n`);
}

/** Until the container ends. The processes' own descriptors wake us: nothing is polled for. */
function watch(stored: StoredContainer, intervalMs: number): void {
  const container = stored.open();
  const pidfd = linux.pidfdOpen(container.pid);
  const oom = container.watchOom();
  let next = monotonicMs() + intervalMs;
  try {
    for (;;) {
      const [ended = 0, killed = 0] = linux.poll(
        [
          { fd: pidfd, events: POLLIN },
          { fd: oom.fd, events: POLLIN },
        ],
        Math.max(0, next - monotonicMs()),
      );
      if (killed !== 0) {
        for (let kills = oom.read(); kills > 0; kills--) print(`${bigJson({ type: 'oom', id: stored.id })}\n`);
      }
      if (ended !== 0) return;
      if (monotonicMs() < next) continue;
      printStats(stored);
      next += intervalMs;
    }
  } finally {
    oom.close();
    linux.close(pidfd);
  }
}
