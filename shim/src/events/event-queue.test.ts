import { internal, unavailable } from '@gantry/errors';
import t from 'tap';
import type { ShimLog } from '../log.ts';
import { EventQueue } from './event-queue.ts';
import type { EventConnection } from './event-queue.ts';

const silent: ShimLog = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const nothing = new Uint8Array();

/** A supervisor that can be away and that can refuse. */
class Supervisor {
  readonly taken: string[] = [];
  away = false;
  refuses: string | undefined;
  connections = 0;
  open = 0;

  queue(): EventQueue {
    return new EventQueue({
      connect: async () => this.connect(),
      nowNs: () => 0n,
      log: silent,
      firstBackOffMs: 2,
      maxBackOffMs: 20,
      idleMs: 10,
    });
  }

  connect(): EventConnection {
    if (this.away) throw unavailable('away');
    this.connections++;
    this.open++;
    let closed = false;
    const close = (): void => {
      if (!closed) this.open--;
      closed = true;
    };
    return {
      get closed() {
        return closed;
      },
      close,
      forward: async (event) => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        if (this.away) {
          close();
          throw unavailable('ttrpc: closed');
        }
        if (event.topic === this.refuses) throw internal('no');
        this.taken.push(event.topic);
      },
    };
  }
}

t.test('events arrive in order over one connection, which is closed when idle', async (t) => {
  const supervisor = new Supervisor();
  const queue = supervisor.queue();
  for (const topic of ['a', 'b', 'c', 'd']) queue.publish(topic, 'T', nothing);
  t.equal(await queue.flush(1000), true);
  t.same(supervisor.taken, ['a', 'b', 'c', 'd']);
  t.equal(supervisor.connections, 1);
  await new Promise((resolve) => setTimeout(resolve, 40));
  t.equal(supervisor.open, 0);
  queue.publish('e', 'T', nothing);
  t.equal(await queue.flush(1000), true);
  t.equal(supervisor.connections, 2);
  queue.close();
});

t.test('while the supervisor is away events are kept, and sent in order when it is back', async (t) => {
  const supervisor = new Supervisor();
  const queue = supervisor.queue();
  queue.publish('a', 'T', nothing);
  t.equal(await queue.flush(1000), true);
  supervisor.away = true;
  queue.publish('b', 'T', nothing);
  queue.publish('c', 'T', nothing);
  t.equal(await queue.flush(30), false);
  t.equal(queue.length, 2);
  supervisor.away = false;
  t.equal(await queue.flush(1000), true);
  t.same(supervisor.taken, ['a', 'b', 'c']);
  queue.close();
});

t.test('a nudge ends the back-off', async (t) => {
  const supervisor = new Supervisor();
  supervisor.away = true;
  const queue = new EventQueue({
    connect: async () => supervisor.connect(),
    nowNs: () => 0n,
    log: silent,
    firstBackOffMs: 60_000,
  });
  queue.publish('a', 'T', nothing);
  await new Promise((resolve) => setTimeout(resolve, 20));
  supervisor.away = false;
  queue.nudge();
  t.equal(await queue.flush(1000), true);
  t.same(supervisor.taken, ['a']);
  queue.close();
});

t.test('an event that the supervisor refuses for good does not hold up the others', async (t) => {
  const supervisor = new Supervisor();
  supervisor.refuses = 'bad';
  const queue = supervisor.queue();
  for (const topic of ['a', 'bad', 'c']) queue.publish(topic, 'T', nothing);
  t.equal(await queue.flush(2000), true);
  t.same(supervisor.taken, ['a', 'c']);
  queue.close();
});

t.test('an event that can wait goes with the next that cannot, and alone when none comes', async (t) => {
  const supervisor = new Supervisor();
  const queue = supervisor.queue();
  queue.publish('create', 'T', nothing, { canWait: true });
  queue.publish('start', 'T', nothing, { canWait: true });
  t.equal(supervisor.connections, 0);
  queue.publish('exit', 'T', nothing);
  t.equal(await queue.flush(1000), true);
  t.same(supervisor.taken, ['create', 'start', 'exit']);
  queue.publish('late', 'T', nothing, { canWait: true });
  await new Promise((resolve) => setTimeout(resolve, 60));
  t.equal(queue.length, 0);
  t.same(supervisor.taken.at(-1), 'late');
  queue.close();
});
