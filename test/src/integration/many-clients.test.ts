/**
 * Fifty clients at once, each with a connection of its own: lives of containers, lists, execs, events. No call fails, no event
 * is lost, gantryd neither grows nor keeps a descriptor, and subscribers that do not read are cut off and told so.
 *
 * GANTRY_LOAD_SECONDS says how long; without it as long as shows that everything works. `make load` runs five minutes.
 */
import t from 'tap';
import { readdirSync, readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '@gantry/client';
import type { Client, Subscription } from '@gantry/client';
import { eventsService } from '@gantry/api';
import { Box, descriptorsOf, imageName, missing, resourcesOf, until } from '../index.ts';

const skip = missing('ctr', 'busybox') ?? false;
const seconds = Number(process.env['GANTRY_LOAD_SECONDS'] ?? 8);
const limitMs = (seconds + 240) * 1000;
t.setTimeout(limitMs);

/** How many clients do what. */
const roles = { lives: 26, execs: 8, lists: 8, watches: 6, slow: 2 };

/** Below this gantryd stays, whatever is asked of it. */
const memoryLimitMiB = 200;

/** What happens to each container's task. */
const topicsOfLife = ['/tasks/create', '/tasks/start', '/tasks/exit', '/tasks/delete'];

interface Tally {
  lives: number;
  execs: number;
  lists: number;
  events: number;
}

function residentMiB(pid: number): number {
  const [, kib = '0'] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) / 1024;
}

/** A container from its making to its removal; every third with output that is read and checked. */
async function live(client: Client, id: string, withOutput: boolean): Promise<void> {
  await client.createContainer({ id, image: imageName, args: withOutput ? ['echo', id] : ['sh', '-c', 'exit 3'] });
  const task = await client.createTask(id, { stdio: withOutput ? { kind: 'pipes' } : { kind: 'null' } });
  const output = task.streams === undefined ? undefined : text(task.streams.stdout);
  await task.start();
  const { exitStatus } = await task.wait();
  if (exitStatus !== (withOutput ? 0 : 3)) throw new Error(`${id} ended with ${exitStatus}`);
  await task.delete();
  if (withOutput && (await output) !== `${id}\n`) throw new Error(`${id} said ${JSON.stringify(await output)}`);
  await client.removeContainer(id);
}

async function execIn(client: Client, id: string, word: string): Promise<void> {
  const exec = await client.exec(id, { args: ['sh', '-c', `echo ${word}; exit 5`], stdio: { kind: 'pipes' } });
  const output = exec.streams === undefined ? '' : text(exec.streams.stdout);
  await exec.start();
  const { exitStatus } = await exec.wait();
  await exec.delete();
  if (exitStatus !== 5 || (await output) !== `${word}\n`) throw new Error(`exec of ${word}: ${exitStatus}`);
}

async function listAll(client: Client): Promise<void> {
  await client.version();
  const containers = await client.containers.list();
  if (!containers.some(({ id }) => id.startsWith('host-'))) throw new Error('a container is not in the list');
  await client.tasks.list();
  await client.images.list(['name~=box']);
  for await (const snapshot of client.snapshots.list()) if (snapshot.name === '') throw new Error('no name');
  await client.tasks.metrics(['id==host-0']);
  await client.introspection.plugins();
}

/** Notes the topics of each container that lives, until `last` has been heard. */
async function watch(events: Subscription, heard: Map<string, string[]>, tally: Tally, last: string): Promise<void> {
  for await (const { topic, payload } of events) {
    tally.events += 1;
    if (topic === last) return;
    const { containerId = '' } = (payload ?? {}) as { readonly containerId?: string };
    if (!containerId.startsWith('life-')) continue;
    heard.set(containerId, [...(heard.get(containerId) ?? []), topic]);
  }
}

t.test('fifty clients', { skip, timeout: limitMs - 5000 }, async (t) => {
  const box = new Box();
  await box.start();
  const { daemon, namespace } = box;
  t.teardown(() => (daemon.pid === 0 ? undefined : daemon.kill())); // when something has failed
  const dial = (): Client => connect({ address: daemon.address, namespace, timeoutMs: 120_000 });
  const publish = (client: Client, topic: string, bytes = 0): Promise<unknown> =>
    client.transport.unary(eventsService.EventsService, eventsService.EventsService.methods.publish, {
      topic,
      event: { typeUrl: 'gantry.test.Filler', value: Buffer.alloc(bytes, 1) },
    });
  // The first of everything brings what stays: threads, workers, code.
  const first = dial();
  await live(first, 'first', true);
  first.close();
  await until('the helpers to be gone', () => childrenOf(daemon.pid) === 0, 30_000);
  const baseline = resourcesOf(daemon.pid);

  const everybody = Object.values(roles).flatMap((count) => Array.from({ length: count }, dial));
  t.equal(everybody.length, 50);
  const take = (count: number): Client[] => everybody.splice(0, count);
  const groups = {
    lives: take(roles.lives),
    execs: take(roles.execs),
    lists: take(roles.lists),
    watches: take(roles.watches),
    slow: take(roles.slow),
  };
  const tally: Tally = { lives: 0, execs: 0, lists: 0, events: 0 };
  const heard = groups.watches.map(() => new Map<string, string[]>());
  const lived: string[] = [];
  const memoryMiB: number[] = [];
  const resources: ReturnType<typeof resourcesOf>[] = [];

  const marks = [`namespace==${namespace},topic~=|^/tasks/|`, `namespace==${namespace},topic~=|^/load/mark|`];
  const subscriptions = groups.watches.map((client) => client.events.subscribe(marks));
  // They read one event, and then not for as long as the load lasts.
  const sleepers = groups.slow.map((client) => client.events.subscribe([`namespace==${namespace}`]));
  // A subscription has begun when the server has read it. The wire has no word for that: events are sent until each has one.
  const [herald = dial()] = groups.lists;
  const begun = [...subscriptions, ...sleepers].map((events) => events.next());
  let waiting = begun.length;
  for (const first of begun) void first.then(() => (waiting -= 1));
  const allBegun = async (): Promise<boolean> => {
    await publish(herald, '/load/mark');
    return waiting === 0;
  };
  await until('every subscription to begin', allBegun, 60_000);
  const watching = Promise.all(
    subscriptions.map((events, index) => watch(events, heard[index] ?? new Map(), tally, '/load/mark/end')),
  );
  watching.catch(() => undefined); // told where it is waited for

  const hosts = groups.execs.map((_, index) => `host-${index}`);
  await Promise.all(
    groups.execs.map(async (client, index) => {
      const id = hosts[index] ?? '';
      await client.createContainer({ id, image: imageName, args: ['sleep', '100000'] });
      await (await client.createTask(id, { stdio: { kind: 'null' } })).start();
    }),
  );

  const endMs = Date.now() + seconds * 1000;
  const repeat = async (clients: readonly Client[], work: (client: Client, n: string) => Promise<void>) => {
    await Promise.all(
      clients.map(async (client, index) => {
        for (let turn = 0; turn === 0 || Date.now() < endMs; turn += 1) await work(client, `${index}-${turn}`);
      }),
    );
  };
  const sampling = (async () => {
    while (Date.now() < endMs) {
      memoryMiB.push(residentMiB(daemon.pid));
      resources.push(resourcesOf(daemon.pid));
      await sleep(Math.min(1000, seconds * 50));
    }
  })();
  await Promise.all([
    sampling,
    repeat(groups.lives, async (client, n) => {
      const id = `life-${n}`;
      await live(client, id, Number(n.split('-')[1]) % 3 === 0);
      lived.push(id);
      tally.lives += 1;
    }),
    repeat(groups.execs, async (client, n) => {
      await execIn(client, hosts[Number(n.split('-')[0])] ?? '', n);
      tally.execs += 1;
    }),
    repeat(groups.lists, async (client) => {
      await listAll(client);
      tally.lists += 1;
    }),
  ]);

  await t.test('subscribers that do not read are cut off and told so, the others hear everything', async (t) => {
    // More than may wait for anybody, however much the load was; who reads gets the last word too.
    for (let sent = 0; sent < 64; sent += 1) await publish(herald, '/load/filler', 1024 * 1024);
    await publish(herald, '/load/mark/end');
    await watching;
    for (const sleeper of sleepers) {
      const all = (async () => {
        for await (const event of sleeper) if (event.topic === '/load/mark/end') return 'everything';
        return 'the end';
      })();
      await t.rejects(all, { code: 'resource exhausted', message: /events behind/ });
    }
  });

  await t.test('every event of every life was heard by every subscriber, in order', (t) => {
    const wanted = lived.map((id) => [id, topicsOfLife]);
    for (const topics of heard) {
      const wrong = wanted.filter(([id]) => `${topics.get(String(id))}` !== `${topicsOfLife}`);
      t.same([topics.size, wrong], [wanted.length, []]);
    }
    t.end();
  });

  await Promise.all(
    groups.execs.map(async (client, index) => {
      await client.tasks.kill(hosts[index] ?? '', 9);
      await client.tasks.wait(hosts[index] ?? '');
      await client.tasks.delete(hosts[index] ?? '');
      await client.removeContainer(hosts[index] ?? '');
    }),
  );
  for (const client of Object.values(groups).flat()) client.close();

  await t.test('gantryd is as it was', async (t) => {
    const most = Math.max(...memoryMiB);
    t.ok(most < memoryLimitMiB, `at most ${most.toFixed(0)} MiB resident`);
    const part = (from: number, to: number): number => {
      const values = memoryMiB.slice(Math.floor(memoryMiB.length * from), Math.ceil(memoryMiB.length * to));
      return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
    };
    // A heap finds its size in the first minute: only a run that goes on after it says something about growth.
    const [early, late] = [part(0.3, 0.5), part(0.8, 1)];
    if (seconds >= 120) t.ok(late < early * 1.1 + 5, `flat: ${early.toFixed(0)} MiB, then ${late.toFixed(0)} MiB`);
    const isBack = (): boolean => {
      const { fds, threads } = resourcesOf(daemon.pid);
      return fds <= baseline.fds && threads <= baseline.threads;
    };
    const back = await until('descriptors and threads to be back', isBack, 60_000).catch(() => false);
    t.same(back ? [] : [baseline, resourcesOf(daemon.pid), ...descriptorsOf(daemon.pid)], []);
    t.same(await box.remains(), []);
    const busy = (key: 'fds' | 'threads'): number => Math.max(...resources.map((reading) => reading[key]));
    const rate = (count: number): string => `${count} (${(count / seconds).toFixed(1)}/s)`;
    t.comment(
      `${seconds} s: ${rate(tally.lives)} lives, ${rate(tally.execs)} execs, ${rate(tally.lists)} rounds of lists, ` +
        `${rate(tally.events)} events heard; ${early.toFixed(0)} MiB resident early, ${late.toFixed(0)} late, ` +
        `${most.toFixed(0)} at most; at most ${busy('fds')} descriptors, ${busy('threads')} threads; ` +
        `afterwards ${resourcesOf(daemon.pid).fds} of ${baseline.fds} descriptors`,
    );
  });
  await box.end(t);
});

function childrenOf(pid: number): number {
  let count = 0;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const status = readFileSync(`/proc/${name}/status`, 'utf8');
      if (new RegExp(`^PPid:\\t${pid}$`, 'm').test(status)) {
        const command = readFileSync(`/proc/${name}/cmdline`, 'latin1');
        if (!command.includes('gantry-zygote')) count += 1;
      }
    } catch {
      // it ended meanwhile
    }
  }
  return count;
}
