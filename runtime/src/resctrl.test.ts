import t from 'tap';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CleanUp } from './clean-up.ts';
import { joinResctrl, makeResctrl, removeResctrl, rootIn } from './resctrl.ts';

/** A directory in the place of the file system: what is written stays what it is. */
function fakeRoot(t: { teardown(callback: () => void): unknown }): string {
  const dir = mkdtempSync(join(tmpdir(), 'gantry-resctrl-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  mkdirSync(join(dir, 'known/mon_groups'), { recursive: true });
  writeFileSync(join(dir, 'known/schemata'), '    L3:0=00ff;1=0f0f\n    MB:0= 70;1=100\n');
  return dir;
}

t.test('resctrl is found where it is mounted', (t) => {
  const line = '44 26 0:39 / /mnt/res rw,relatime shared:5 - resctrl resctrl rw';
  t.equal(rootIn(`1 0 8:1 / / rw - ext4 /dev/sda rw\n${line}\n`), '/mnt/res');
  t.equal(rootIn('1 0 8:1 / / rw - ext4 /dev/sda rw\n'), undefined);
  t.end();
});

t.test('a group of the container’s own is made, filled and removed', (t) => {
  const root = fakeRoot(t);
  const cleanUp = new CleanUp();
  const rdt = { l3CacheSchema: 'L3:0=f', memBwSchema: 'MB:0=70', schemata: ['L2:0=3'] };
  const groups = makeResctrl(rdt, 'c1', cleanUp, root);
  t.same(groups, { tasks: [join(root, 'c1/tasks')], made: [join(root, 'c1')] });
  t.equal(readFileSync(join(root, 'c1/schemata'), 'utf8'), 'L3:0=f\nMB:0=70\nL2:0=3\n');
  joinResctrl(rdt, 'c1', 77, root);
  t.equal(readFileSync(join(root, 'c1/tasks'), 'utf8'), '77');
  rmSync(join(root, 'c1/schemata'));
  rmSync(join(root, 'c1/tasks'));
  removeResctrl(groups.made);
  removeResctrl(groups.made);
  t.notOk(existsSync(join(root, 'c1')));
  t.end();
});

t.test('a group that is named stays, and must be what it is taken for', (t) => {
  const root = fakeRoot(t);
  const make = (rdt: Parameters<typeof makeResctrl>[0]) => makeResctrl(rdt, 'c1', new CleanUp(), root);
  t.same(make({ closID: 'known', schemata: ['L3:0=ff;1=f0f', 'MB:1=100'] }).made, []);
  t.throws(() => make({ closID: 'known', l3CacheSchema: 'L3:0=1' }), /are others than those asked for: L3:0=1/);
  t.throws(() => make({ closID: 'unknown' }), /clos dir ".*unknown" does not exist/);
  t.same(make({ closID: 'new', schemata: ['MB:0=10'] }).made, [], 'made by name, it is everybody’s');
  t.ok(existsSync(join(root, 'new')));
  const counted = make({ closID: 'known', enableMonitoring: true });
  t.same(counted.made, [join(root, 'known/mon_groups/c1')]);
  t.same(counted.tasks, [join(root, 'known/tasks'), join(root, 'known/mon_groups/c1/tasks')]);
  t.same(make({ closID: '/' }).tasks, [join(root, 'tasks')]);
  t.end();
});

t.test('a failure is undone', (t) => {
  const root = fakeRoot(t);
  const cleanUp = new CleanUp();
  t.throws(() => makeResctrl({ enableMonitoring: true }, 'c1', cleanUp, root), /mon_groups/);
  t.same(cleanUp.run(), []);
  t.notOk(existsSync(join(root, 'c1')));
  t.end();
});
