import t from 'tap';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { openStore } from './lmdb-store.ts';
import type { Store } from './store.ts';
import { storeSuite } from './testing/store-suite.ts';

const scratch = mkdtempSync(path.join(tmpdir(), 'gantry-store-'));
t.teardown(() => rmSync(scratch, { recursive: true, force: true }));

let stores = 0;
const newDirectory = (): string => path.join(scratch, String(++stores));
const open = async (dir = newDirectory()): Promise<Store> => openStore(dir, { minimumFreeBytes: 0 });
const value = (store: Store, ...key: string[]): string | undefined => {
  const found = store.get(key);
  return found && Buffer.from(found).toString('utf8');
};

storeSuite(t, 'lmdb', open);

t.test('what was written is there after closing and opening again', async (t) => {
  const dir = newDirectory();
  const first = await open(dir);
  await first.transact((tx) => tx.put(['a', 'b'], Buffer.from('1')));
  await first.close();
  const second = await open(dir);
  t.teardown(async () => second.close());
  t.equal(value(second, 'a', 'b'), '1');
});

t.test('a backup is a store of its own', async (t) => {
  const store = await open();
  t.teardown(async () => store.close());
  await store.transact((tx) => tx.put(['a'], Buffer.from('1')));
  const copy = newDirectory();
  await store.backup(copy);
  await store.transact((tx) => tx.put(['a'], Buffer.from('2')));
  const restored = await open(copy);
  t.teardown(async () => restored.close());
  t.equal(value(restored, 'a'), '1');
});

t.test('a disk with too little room refuses writes and still takes deletions', async (t) => {
  const dir = newDirectory();
  const before = await open(dir);
  await before.transact((tx) => tx.put(['a'], Buffer.from('1')));
  await before.close();
  const store = await openStore(dir, { minimumFreeBytes: Number.MAX_SAFE_INTEGER });
  t.teardown(async () => store.close());
  const refused = store.transact((tx) => tx.put(['b'], Buffer.from('2')));
  await t.rejects(refused, { code: 'resource exhausted', message: /bytes free/ });
  t.equal(value(store, 'b'), undefined);
  await store.transact((tx) => tx.delete(['a']));
  t.equal(value(store, 'a'), undefined);
});

/** Writes until it is killed; says each number after it was acknowledged. Holds a reader open all the while. */
const writer = fileURLToPath(new URL('./testing/endless-writer.js', import.meta.url));

t.test('what was acknowledged survives SIGKILL, and the killed process blocks nobody', async (t) => {
  const dir = newDirectory();
  for (let round = 0; round < 3; round++) {
    const child = spawn(process.execPath, [writer, dir], { stdio: ['ignore', 'pipe', 'inherit'] });
    const exited = once(child, 'exit');
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (said.length > 400 * (round + 1)) child.kill('SIGKILL');
    });
    await exited;
    const last = said.split('\n').at(-2) ?? '';
    t.ok(Number(last) > 0, `round ${round}: got as far as ${last}`);
    const store = await open(dir);
    t.ok(Number(value(store, 'last')) >= Number(last), 'the last acknowledged number is there');
    t.equal(value(store, 'number', last), last);
    await store.transact((tx) => tx.put(['after', String(round)], Buffer.from('x')));
    await store.close();
  }
  t.ok(existsSync(path.join(dir, 'data.mdb')));
});

const filler = fileURLToPath(new URL('./testing/full-disk.js', import.meta.url));

const rootOnly = process.getuid?.() === 0 ? {} : { skip: 'mounting a small file system needs root' };

t.test('a full disk refuses what is new, keeps what is old and lets go of what is deleted', rootOnly, (t) => {
  for (const floor of ['0', '4000000']) {
    const dir = newDirectory();
    mkdirSync(dir);
    const program = [process.execPath, filler, dir, floor];
    const said = execFileSync('unshare', ['--mount', '--', ...program], { stdio: ['ignore', 'pipe', 'ignore'] });
    const { written, code, last } = JSON.parse(said.toString('utf8'));
    t.ok(written > 100, `floor ${floor}: ${written} entries fitted`);
    t.equal(code, 'resource exhausted');
    t.equal(last, 20_000, 'the last acknowledged entry is there after opening again');
  }
  t.end();
});
