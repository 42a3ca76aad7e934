import t from 'tap';
import { codeOf } from '@gantry/errors';
import type { Batch, Engine } from './engine.ts';
import { EngineStore } from './engine-store.ts';
import type { KeyPath } from './key.ts';

/** An engine whose commits wait until they are let through or made to fail. */
class SlowEngine implements Engine {
  readonly entries = new Map<KeyPath, Uint8Array>();
  readonly waiting: { readonly batch: Batch; readonly done: (err?: Error) => void }[] = [];

  get(path: KeyPath): Uint8Array | undefined {
    return this.entries.get(path);
  }

  page(): [] {
    return [];
  }

  async write(batch: Batch): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (err?: Error): void => {
        if (err !== undefined) return reject(err);
        for (const [path, value] of batch) if (value !== undefined) this.entries.set(path, value);
        return resolve();
      };
      this.waiting.push({ batch, done });
    });
  }

  snapshot(): never {
    throw new Error('not used');
  }

  checkRoom(): void {
    // There is always room.
  }

  async backup(): Promise<void> {
    return Promise.resolve();
  }

  async close(): Promise<void> {
    return Promise.resolve();
  }
}

const settled = async (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(resolve);
  });

const put = async (store: EngineStore, name: string): Promise<string> =>
  store.transact((tx) => tx.put([name], Buffer.from('x'))).then(() => 'ok', codeOf);

t.test('transactions that arrive during a commit share the next one', async (t) => {
  const engine = new SlowEngine();
  const store = new EngineStore(engine);
  const first = put(store, 'a');
  await settled();
  const later = ['b', 'c', 'd'].map(async (name) => put(store, name));
  await settled();
  t.equal(engine.waiting.length, 1, 'one at a time');
  engine.waiting[0]?.done();
  t.equal(await first, 'ok');
  t.same([...(engine.waiting[1]?.batch.keys() ?? [])], ['b', 'c', 'd']);
  engine.waiting[1]?.done();
  t.same(await Promise.all(later), ['ok', 'ok', 'ok']);
});

t.test('a failed commit takes along what was built on it, and nothing else', async (t) => {
  const engine = new SlowEngine();
  const store = new EngineStore(engine);
  const first = put(store, 'a');
  await settled();
  const reading = store.transact((tx) => tx.get(['a'])).then(() => 'ok', codeOf);
  const second = put(store, 'b');
  await settled();
  engine.waiting[0]?.done(new Error('EIO'));
  t.same(await Promise.all([first, reading, second]), ['unknown', 'unknown', 'aborted']);
  t.equal(store.get(['a']), undefined);
  const third = put(store, 'c');
  await settled();
  engine.waiting[1]?.done();
  t.equal(await third, 'ok');
  t.same([...engine.entries.keys()], ['c']);
});

t.test('closing waits for what was begun', async (t) => {
  const engine = new SlowEngine();
  const store = new EngineStore(engine);
  const last = put(store, 'a');
  const closed = store.close();
  await settled();
  engine.waiting[0]?.done();
  await closed;
  t.equal(await last, 'ok');
  t.equal(await put(store, 'b'), 'unavailable');
});
