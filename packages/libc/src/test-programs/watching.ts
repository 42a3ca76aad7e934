/** The program of the tests that need a process of their own to watch descriptors in: `node watching.js SCENARIO`. */
import { watchReadable } from '../event-loop.ts';
import { linux as sys } from '../linux.ts';

const scenarios: Readonly<Record<string, () => void>> = {
  /** Ends by itself although the descriptor is never readable. */
  unref() {
    watchReadable(sys.eventfd(0), () => undefined, { unref: true });
  },

  /** An exception of the callback is an uncaught exception like any other. */
  throwing() {
    process.on('uncaughtException', (err) => {
      process.stdout.write(`caught ${err.message}`);
      process.exit(0);
    });
    watchReadable(sys.eventfd(1), () => {
      throw new Error('oops');
    });
  },

  /** Node exits while a watch is ready and another one waits. */
  exiting() {
    watchReadable(sys.eventfd(0), () => undefined);
    watchReadable(sys.eventfd(1), () => process.exit(3));
  },

  /** Ten thousand watches, each of which leaves nothing behind. */
  churn() {
    let left = 10_000;
    const before = process.memoryUsage().rss;
    const next = (): void => {
      const fd = sys.eventfd(1);
      const stop = watchReadable(fd, () => {
        stop();
        sys.close(fd);
        if (--left > 0) next();
        else process.stdout.write(String(process.memoryUsage().rss - before));
      });
    };
    next();
  },
};

scenarios[process.argv[2] ?? '']?.();
