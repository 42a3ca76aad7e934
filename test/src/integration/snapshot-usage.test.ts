/** What snapshots take and which of them a walk finds, beside a stock containerd; what is freed by the time Cleanup answers. */
import t from 'tap';
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { snapshots } from '@gantry/api';
import { connect } from '@gantry/client';
import type { Client } from '@gantry/client';
import { codeOf } from '@gantry/errors';
import { gantryd, missing, removeScratch, scratchDirectory, scratchNamespace, stockContainerd } from '../index.ts';

const skip = missing('ctr', 'containerd') ?? false;
t.setTimeout(90_000);

const { SnapshotsService: service } = snapshots;

const filters = [
  'kind==active',
  'kind==committed',
  'kind==view',
  'kind==Committed',
  'kind',
  'name==A',
  'name~=^[AB]$',
  'parent==A',
  'parent==""',
  'parent',
  'key==A',
  'nope',
  'kind==',
  'labels.k',
  'labels.k==v',
  'labels."k"!=v',
  'labels.none==""',
  'labels.k==v,kind==view',
];

const inTree = (tree: string, script: string): void => {
  execFileSync('sh', ['-ec', script], { cwd: tree });
};

/** Two layers, a view and an active snapshot on top, and what is said of them. */
async function lookAt(client: Client, snapshotter: string): Promise<Record<string, string>> {
  const said: Record<string, string> = {};
  const trees = client.snapshots.of(snapshotter);
  await using lease = await client.leases.with();
  const held = lease.options();
  const measure = async (what: string, key: string): Promise<void> => {
    const { size, inodes } = await trees.usage(key);
    said[what] = `${size} bytes, ${inodes} inodes`;
  };
  const writable = async (key: string, parent: string): Promise<string> => {
    const [mount] = await trees.prepare(key, parent, held);
    const upper = mount?.options.find((option) => option.startsWith('upperdir='));
    return upper?.slice('upperdir='.length) ?? mount?.source ?? '';
  };
  const lower = await writable('a', '');
  inTree(
    lower,
    'mkdir d; head -c 100000 /dev/urandom > d/f; ln d/f d/g; ln -s x l; mkfifo p; mknod c c 1 3; echo x > s; sync d/f s',
  );
  if (snapshotter !== 'native') inTree(lower, 'truncate -s 1G sparse'); // a copy by containerd has no holes
  await measure('active', 'a');
  await trees.commit('A', 'a', held);
  await measure('committed', 'A');
  const upper = await writable('b', 'A');
  await measure('with a parent', 'b');
  inTree(upper, 'head -c 50000 /dev/urandom > new; ln new new2; sync new');
  await measure('written', 'b');
  await trees.commit('B', 'b', held);
  await measure('committed with a parent', 'B');
  const view = { snapshotter, key: 'v', parent: 'B', labels: { k: 'v' } };
  await client.transport.unary(service, service.methods.view, view, held);
  await trees.prepare('w', 'B', { ...held, labels: { k: 'w' } });
  const walk = async (...given: string[]): Promise<string> => {
    const names: string[] = [];
    for await (const { name } of trees.list(given)) names.push(name);
    return names.sort().join(' ');
  };
  for (const filter of filters) said[filter] = await walk(filter).catch(() => 'refused');
  said['one or the other'] = await walk('name==A', 'kind==view');
  return said;
}

t.test('usage and walks', { skip, timeout: 80_000 }, async (t) => {
  const dir = scratchDirectory();
  const namespace = scratchNamespace('u');
  const own = gantryd(path.join(dir, 'g'));
  const daemons = [own, stockContainerd(path.join(dir, 's'))];
  t.teardown(async () => {
    for (const daemon of daemons) if (daemon.pid !== 0) await daemon.kill();
    removeScratch(dir);
  });
  const answers: Record<string, Record<string, string>>[] = [];
  for (const daemon of daemons) {
    await daemon.start();
    using client = connect({ address: daemon.address, namespace, timeoutMs: 60_000 });
    await client.namespaces.create(namespace);
    answers.push({ native: await lookAt(client, 'native'), overlayfs: await lookAt(client, 'overlayfs') });
  }
  t.same(answers[0], answers[1], 'the same as containerd says');
  t.match(answers[0]?.['overlayfs'], { 'parent==""': 'A', 'kind==': 'refused', active: /^1\d{5} bytes, 8 inodes$/ });

  using client = connect({ address: own.address, namespace, timeoutMs: 60_000 });
  for (const name of ['native', 'overlayfs']) {
    const trees = client.snapshots.of(name);
    await using lease = await client.leases.with();
    const [mount] = await trees.prepare('large', '', lease.options());
    inTree(mount?.source ?? '', 'for n in 1 2 3 4 5 6 7 8; do mkdir $n; head -c 1000000 /dev/zero > $n/f; done');
    await trees.remove('large');
    await client.transport.unary(service, service.methods.cleanup, { snapshotter: name });
    const root = path.join(own.root, 'snapshots', name);
    const names = readdirSync(root).flatMap((at) => (at === 'trash' ? readdirSync(path.join(root, at)) : []));
    t.same(names, [], `${name}: nothing waits to be removed`);
  }
  const unknown = client.transport.unary(service, service.methods.cleanup, { snapshotter: 'none' });
  t.equal(codeOf(await unknown.catch((err: unknown) => err)), 'invalid argument');
  for (const daemon of daemons) await daemon.stop();
});
