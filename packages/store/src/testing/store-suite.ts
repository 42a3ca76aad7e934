/** What every `Store` has to keep, called from each implementation's test. */
import type { Test } from 'tap';
import { isCode } from '@gantry/errors';
import type { Entry, Key, Reader, Store, Transaction } from '../store.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text);
const text = (value: Uint8Array | undefined): string | undefined => value && Buffer.from(value).toString('utf8');
const show = (entries: Iterable<Entry>): string[] =>
  [...entries].map(({ key, value }) => `${key.join('/')}=${text(value)}`);

async function fill(store: Store, entries: Readonly<Record<string, string>>): Promise<void> {
  await store.transact((tx) => {
    for (const [key, value] of Object.entries(entries)) tx.put(key.split('/'), bytes(value));
  });
}

/** Runs the suite; `make` gives an empty store, which the suite closes. */
export function storeSuite(suite: Test, name: string, make: () => Promise<Store>): void {
  const test = (title: string, body: (t: Test, store: Store) => Promise<void>): void => {
    void suite.test(`${name}: ${title}`, async (t) => {
      const store = await make();
      t.teardown(async () => store.close());
      await body(t, store);
    });
  };
  transactions(test);
  scans(test);
  isolation(test);
  limits(test);
}

type Declare = (title: string, body: (t: Test, store: Store) => Promise<void>) => void;

function transactions(test: Declare): void {
  test('what was put is there when transact resolves, and gives its result', async (t, store) => {
    const result = await store.transact((tx) => {
      tx.put(['a', 'b'], bytes('1'));
      return text(tx.get(['a', 'b']));
    });
    t.equal(result, '1', 'the transaction sees its own write');
    t.equal(text(store.get(['a', 'b'])), '1');
    t.equal(store.get(['a']), undefined);
    await store.transact((tx) => tx.delete(['a', 'b']));
    t.equal(store.get(['a', 'b']), undefined);
    await store.transact((tx) => tx.delete(['never', 'there']));
  });

  test('a function that throws changes nothing', async (t, store) => {
    await fill(store, { 'a/x': 'old' });
    const failing = store.transact((tx) => {
      tx.put(['a', 'x'], bytes('new'));
      tx.put(['a', 'y'], bytes('new'));
      throw new Error('no');
    });
    await t.rejects(failing, { message: 'no' });
    await store.flush();
    t.same(show(store.scan(['a'])), ['a/x=old']);
  });

  test('an asynchronous function is refused', async (t, store) => {
    await t.rejects(
      store.transact(async () => Promise.resolve()),
      { code: 'invalid argument' },
    );
  });

  test('a transaction cannot be used after its function returned', async (t, store) => {
    let kept: Transaction | undefined;
    await store.transact((tx) => {
      kept = tx;
    });
    t.throws(() => kept?.put(['a'], bytes('late')), { code: 'unavailable' });
    t.throws(() => kept?.get(['a']), { code: 'unavailable' });
  });

  test('concurrent transactions see each other in the order of the calls', async (t, store) => {
    const counts = await Promise.all(
      Array.from({ length: 200 }, async () =>
        store.transact((tx) => {
          const next = Number(text(tx.get(['counter'])) ?? '0') + 1;
          tx.put(['counter'], bytes(String(next)));
          return next;
        }),
      ),
    );
    t.same(
      counts,
      Array.from({ length: 200 }, (_, index) => index + 1),
    );
    t.equal(text(store.get(['counter'])), '200');
  });

  test('values and keys are copies on both ways', async (t, store) => {
    const value = Buffer.from('abc');
    const written = store.transact((tx) => tx.put(['k'], value));
    value.fill(0);
    await written;
    const read = store.get(['k']);
    t.equal(text(read), 'abc');
    read?.fill(0);
    t.equal(text(store.get(['k'])), 'abc');
  });

  test('empty and large values come back whole', async (t, store) => {
    const large = Buffer.alloc(300_000, 'gantry');
    await store.transact((tx) => {
      tx.put(['empty'], new Uint8Array(0));
      tx.put(['large'], large);
    });
    t.equal(store.get(['empty'])?.length, 0);
    t.ok(large.equals(store.get(['large']) ?? new Uint8Array(0)));
  });
}

function scans(test: Declare): void {
  test('scan gives what is strictly below a prefix, component by component', async (t, store) => {
    await fill(store, { n: '0', 'n/a': '1', 'n/a/x': '2', 'n/b': '3', 'n-b': '4', na: '5', 'm/z': '6' });
    t.same(show(store.scan(['n'])), ['n/a=1', 'n/a/x=2', 'n/b=3']);
    t.same(show(store.scan(['n', 'a'])), ['n/a/x=2']);
    t.same(show(store.scan(['nothing'])), []);
  });

  test('scan starts behind a child and stops at the limit', async (t, store) => {
    await fill(store, { 'n/a': '1', 'n/a/x': '2', 'n/a.b': '3', 'n/b': '4', 'n/c': '5' });
    t.same(show(store.scan(['n'], { after: 'a' })), ['n/a.b=3', 'n/b=4', 'n/c=5']);
    t.same(show(store.scan(['n'], { limit: 2 })), ['n/a=1', 'n/a/x=2']);
    t.same(show(store.scan(['n'], { after: 'b', limit: 1 })), ['n/c=5']);
    t.same(show(store.scan(['n'], { limit: 0 })), []);
  });

  test('keys are ordered by their UTF-8 bytes and come back as they were', async (t, store) => {
    const names = ['a', 'ä', '\u{1f600}', '\ufffd', 'Z', 'a b', 'a\x01', 'sha256:00/..'];
    await store.transact((tx) => {
      for (const name of names) tx.put(['u', name], bytes(name));
    });
    const expected = [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    t.same(
      [...store.scan(['u'])].map(({ key }) => key[1]),
      expected,
    );
    const layered = await store.transact((tx) => {
      for (const name of names) tx.put(['u', name], bytes(name));
      return [...tx.scan(['u'])].map(({ key }) => key[1]);
    });
    t.same(layered, expected);
  });

  test('more entries than a page come in order and once', async (t, store) => {
    const names = Array.from({ length: 1000 }, (_, index) => `k${String(index).padStart(4, '0')}`);
    await store.transact((tx) => {
      for (const name of names) tx.put(['p', name], bytes(name));
    });
    t.same(
      [...store.scan(['p'])].map(({ key }) => key[1]),
      names,
    );
  });

  test('a transaction scans its own writes over what is stored', async (t, store) => {
    await fill(store, { 'n/a': '1', 'n/b': '2', 'n/d': '4' });
    const seen = await store.transact((tx) => {
      tx.put(['n', 'c'], bytes('3'));
      tx.put(['n', 'b'], bytes('two'));
      tx.delete(['n', 'a']);
      tx.put(['n', 'z'], bytes('9'));
      return [show(tx.scan(['n'])), show(tx.scan(['n'], { limit: 2 })), show(tx.scan(['n'], { after: 'c' }))];
    });
    t.same(seen, [
      ['n/b=two', 'n/c=3', 'n/d=4', 'n/z=9'],
      ['n/b=two', 'n/c=3'],
      ['n/d=4', 'n/z=9'],
    ]);
  });

  test('what is scanned can be deleted on the way', async (t, store) => {
    const names = Array.from({ length: 600 }, (_, index) => `k${index}`);
    await store.transact((tx) => {
      for (const name of names) tx.put(['p', name], bytes(name));
    });
    await store.transact((tx) => {
      for (const { key } of tx.scan(['p'])) tx.delete(key);
    });
    t.same(show(store.scan(['p'])), []);
  });
}

function isolation(test: Declare): void {
  test('readers outside see nothing before it is durable', async (t, store) => {
    const write = store.transact((tx) => tx.put(['a'], bytes('1')));
    t.equal(store.get(['a']), undefined);
    const seen = await store.transact((tx) => text(tx.get(['a'])));
    t.equal(seen, '1', 'a later transaction sees it');
    t.equal(text(store.get(['a'])), '1', 'a transaction that only read waits for what it read');
    await write;
  });

  test('generations tell whether anything was written between two views', async (t, store) => {
    await fill(store, { a: '1' });
    const snapshot = store.snapshot();
    const now = async (): Promise<number> => store.transact((tx) => tx.generation);
    t.equal(await now(), snapshot.generation);
    await t.rejects(
      store.transact((tx) => {
        tx.put(['a'], bytes('2'));
        throw new Error('no');
      }),
    );
    t.equal(await now(), snapshot.generation, 'what failed does not count');
    const pending = fill(store, { a: '3' });
    const early = store.snapshot();
    t.equal(early.generation, snapshot.generation, 'a snapshot is as old as what it shows');
    t.not(await now(), early.generation);
    await pending;
    t.equal(store.snapshot().generation, await now());
  });

  test('a snapshot stays as it was, through many commits', async (t, store) => {
    await fill(store, { 'n/a': '1', 'n/b': '2' });
    const snapshot = store.snapshot();
    for (let round = 0; round < 20; round++) await fill(store, { 'n/a': `changed ${round}`, [`n/c${round}`]: 'new' });
    await store.transact((tx) => tx.delete(['n', 'b']));
    const check = (reader: Reader): string[] => show(reader.scan(['n']));
    t.same(check(snapshot), ['n/a=1', 'n/b=2']);
    t.equal(text(snapshot.get(['n', 'b'])), '2');
    snapshot.close();
    snapshot.close();
    t.throws(() => snapshot.get(['n', 'b']), { code: 'unavailable' });
    t.equal(check(store).length, 21);
  });
}

function limits(test: Declare): void {
  test('malformed keys are invalid arguments', async (t, store) => {
    const wrong: readonly Key[] = [[], [''], ['a', ''], ['a\0b'], ['a', '\ud800'], ['x'.repeat(3000)]];
    for (const key of wrong) {
      await t.rejects(
        store.transact((tx) => tx.put(key, bytes('v'))),
        { code: 'invalid argument' },
        JSON.stringify(key).slice(0, 20),
      );
    }
    await store.transact((tx) => tx.put(['x'.repeat(1978)], bytes('longest')));
    t.equal(text(store.get(['x'.repeat(1978)])), 'longest');
  });

  test('a closed store refuses everything with unavailable', async (t, store) => {
    const snapshot = store.snapshot();
    const last = store.transact((tx) => tx.put(['a'], bytes('1')));
    await store.close();
    await store.close();
    await last;
    t.throws(() => store.get(['a']), { code: 'unavailable' });
    t.throws(() => store.snapshot(), { code: 'unavailable' });
    t.throws(() => snapshot.get(['a']), { code: 'unavailable' });
    const late = await store
      .transact((tx) => tx.put(['b'], bytes('2')))
      .catch((err: unknown) => isCode(err, 'unavailable'));
    t.equal(late, true);
  });
}
