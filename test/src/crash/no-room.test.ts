/** There is no room for a process: what needs one fails and says so, the rest goes on, and all is well when there is room. */
import t from 'tap';
import { readdirSync } from 'node:fs';
import { ApiBox, grpcStatus, missing, outcome, PidsGroup, pidsUnlimited, scratchNamespace, until } from '../index.ts';
import type { Outcome } from '../index.ts';

const skip = missing('busybox') ?? pidsUnlimited() ?? false;
t.setTimeout(300_000);
const WARN = 40;

/** A gantryd in a group of its own, from its first instruction. */
async function limited(
  body: (box: ApiBox, group: PidsGroup) => Promise<void>,
  t: Parameters<ApiBox['end']>[0],
  config = '',
): Promise<void> {
  const group = new PidsGroup(scratchNamespace('p'));
  const box = new ApiBox({ config, runner: [...group.runner, process.execPath] });
  try {
    await body(box, group);
  } finally {
    group.limit('max');
    await box.end(t);
    group.remove();
  }
}

const noRoom = ({ code, message }: Outcome): boolean =>
  code === grpcStatus.resourceExhausted && message.includes('EAGAIN');

t.test('no room for another process', { skip, timeout: 60_000 }, async (t) => {
  await limited(async (box, group) => {
    await box.start();
    await box.run('before');
    await until('the spares', () => box.spares().length === 2);
    const ids = ['a', 'b', 'c', 'd', 'e', 'f'];
    for (const id of ids) await box.make(id);

    group.limit(group.current);
    // The first have a spare and no room for their init. What they give back may be enough for a later one.
    const ended = await Promise.all(ids.map((id) => outcome(box.create(id))));
    const refused = ids.filter((_, at) => ended[at]?.code !== 0);
    t.same(
      ended.filter((one) => one.code !== 0 && !noRoom(one)),
      [],
    );
    t.match(ended[0]?.message, /^failed to create shim task: OCI runtime create failed: .*EAGAIN/);
    await until(
      'what was begun to be taken back',
      async () => (await box.remains()).length === 3 * (7 - refused.length),
    );
    t.same([...(await box.tasks()).keys()], [...ids.filter((id) => !refused.includes(id)), 'before'].toSorted());
    group.limit(group.current);
    t.ok(noRoom(await outcome(box.exec('before', 'x', ['true']))), 'an exec is refused like them');

    group.limit('max');
    for (const id of refused) await box.create(id);
    t.equal(await box.exec('before', 'x', ['true']), 0);
    for (const id of ['before', ...ids]) await box.remove(id);
    t.same(
      box.logged(WARN).filter(({ msg }) => msg.includes('cannot be forked')),
      [],
      'shims are forked as before',
    );
  }, t);
});

t.test('no room for a zygote: it is started when there is', { skip, timeout: 60_000 }, async (t) => {
  await limited(
    async (box, group) => {
      await box.start();
      await box.run('c');
      const threads = readdirSync(`/proc/${await until('a zygote', () => box.zygote())}/task`).length;
      await box.remove('c');
      await box.restart();
      await box.make('c');
      await until('the number of threads to settle', async () => {
        const before = group.current;
        await new Promise((resolve) => setTimeout(resolve, 300));
        return before === group.current;
      });
      // It is made when it is needed; there is room for it, but none for the child that it tries itself with.
      group.limit(group.current + threads);
      for (let attempt = 1; attempt <= 4; attempt += 1) {
        const refused = await outcome(box.create('c'));
        t.same([refused.code, box.zygote()], [grpcStatus.resourceExhausted, undefined], refused.message);
      }
      t.same(await box.remains(), []);
      group.limit('max');
      await box.create('c');
      t.ok(box.zygote());
      t.same(
        box.logged(WARN).filter(({ msg }) => msg.includes('cannot be forked')),
        [],
        'that was no verdict',
      );
      await box.remove('c');
    },
    t,
    '[shim]\nspares = 0\n',
  );
});

t.test('two hundred creates at once with room for a part of them', { skip, timeout: 120_000 }, async (t) => {
  await limited(async (box, group) => {
    await box.start();
    await until('the spares', () => box.spares().length === 2);
    const ids = Array.from({ length: 200 }, (_, at) => `c${at}`);
    for (const id of ids) await box.make(id);
    group.limit(group.current + 60);
    const ended = await Promise.all(ids.map((id) => outcome(box.create(id))));
    const made = ids.filter((_, at) => ended[at]?.code === 0);
    t.same(
      ended.filter((one) => one.code !== 0 && !noRoom(one)),
      [],
      'each succeeds, or is told that there is no room',
    );
    t.ok(made.length >= 20 && made.length <= 70, `${made.length} of them are made`);
    t.same([...(await box.tasks()).keys()].toSorted(), made.toSorted(), 'what failed is not there');
    // Room for what a kill and a delete may need.
    group.limit(group.current + 20);
    for (const id of made) await box.startTask(id);
    await Promise.all(made.map((id) => box.remove(id)));
    const rest = ids.filter((id) => !made.includes(id));
    await until('nothing to remain', async () => (await box.remains()).length === 0);
    for (const id of rest.slice(0, 10)) await box.create(id);
    for (const id of rest.slice(0, 10)) await box.remove(id);
    for (const id of rest.slice(10)) await box.deleteContainer(id);
  }, t);
});
