/** What every nursery has to keep, alone and below the launcher; called from each implementation's test. Needs root. */
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import type { Test } from 'tap';
import { codeOf } from '@gantry/errors';
import { ShimConnection } from '../connection.ts';
import { isAlive, killProcess } from '../process-identity.ts';
import { LaunchedContainer, sleeper } from './launched-container.ts';
import { cannotRunShims, gone, NurseryPlace, until } from './nursery-place.ts';
import type { MakeNursery, PlaceOptions } from './nursery-place.ts';

type Declare = (
  title: string,
  body: (t: Test, place: NurseryPlace) => Promise<void>,
  options?: Partial<PlaceOptions>,
) => void;

const code = (promise: Promise<unknown>): Promise<string> => promise.then(() => 'ok', codeOf);
const SIGKILL = 9;
const SIGTERM = 15;

/** Each test has a place of its own, in which nothing may be left. */
export function declarer(suite: Test, make: MakeNursery, common: Partial<PlaceOptions> = {}): Declare {
  const skip = cannotRunShims() ?? false;
  return (title, body, options = {}) => {
    void suite.test(title, { skip, timeout: 60_000 }, async (t) => {
      const place = await NurseryPlace.open(make, { ...common, ...options });
      try {
        await body(t, place);
      } finally {
        await place.end(t);
      }
    });
  };
}

/** `common` is for every place: the node program, say. */
export function nurserySuite(suite: Test, make: MakeNursery, common: Partial<PlaceOptions> = {}): void {
  const test = declarer(suite, make, common);
  births(test);
  lives(test);
  adoptions(test);
  pool(test);
  ends(test);
}

function births(test: Declare): void {
  test('a spare listens, is a session of its own, and has no task service yet', async (t, place) => {
    const socket = place.freshSocket();
    const spare = await place.nursery.bear(socket);
    t.ok(isAlive(spare));
    t.match(
      readFileSync(`/proc/${spare.pid}/stat`, 'latin1').split(') ')[1],
      new RegExp(`^\\S \\d+ ${spare.pid} ${spare.pid} `),
    );
    const connection = await ShimConnection.connect(socket, 2000);
    t.equal(await code(connection.call('state', { id: 'x' })), 'not implemented');
    connection.close();
    await gone(spare);
    t.notOk(existsSync(socket), 'it removes its socket when it is left');
  });

  test('many can be had at a time, and each is another process', async (t, place) => {
    const sockets = Array.from({ length: 8 }, () => place.freshSocket());
    const spares = await Promise.all(sockets.map((socket) => place.nursery.bear(socket)));
    t.equal(new Set(spares.map(({ pid }) => pid)).size, 8);
    for (const [at, socket] of sockets.entries()) {
      const connection = await ShimConnection.connect(socket, 2000);
      connection.close();
      const spare = spares[at];
      if (spare !== undefined) await gone(spare);
    }
  });

  test('a spare that cannot listen is an error that comes soon, and none is left', async (t, place) => {
    const asked = Date.now();
    t.equal(await code(place.nursery.bear(place.in('no/such/directory/socket'))), 'unavailable');
    t.ok(Date.now() - asked < 5000);
    const socket = place.freshSocket();
    await place.nursery.bear(socket);
    (await ShimConnection.connect(socket, 2000)).close();
    t.pass('the next one is not worse for it');
  });
}

function lives(test: Declare): void {
  test('a container lives its life in a spare that was adopted', async (t, place) => {
    const out = place.in('out');
    const container = await LaunchedContainer.create(
      place,
      'c',
      ['sh', '-c', 'trap "exit 7" TERM; echo $IN; while :; do sleep 0.02; done'],
      `file://${out}`,
    );
    t.same(readdirSync(place.in('spares')), [], 'its socket has moved');
    t.match(readFileSync(`/proc/${container.shim.pid}/cmdline`, 'latin1'), '-namespace nursery-test -id c -bundle ');
    t.equal((await container.state()).pid, container.pid);
    await container.start();
    await until('its output', () => existsSync(out) && readFileSync(out, 'utf8') === 'container\n');
    t.equal(await container.exec('x', ['sh', '-c', 'exit 3']), 3);
    await container.redial(place);
    await container.kill(SIGTERM);
    t.equal(await container.wait(), 7);
    t.equal(await container.remove(), 7);
    t.notOk(existsSync(place.request('c').bundle), 'the shim takes the bundle with it');
  });

  test('a container that was only created can be ended and deleted', async (t, place) => {
    const container = await LaunchedContainer.create(place, 'c');
    await container.kill(SIGKILL);
    await container.wait();
    t.equal(await container.remove(), 128 + SIGKILL);
  });

  test('twelve containers at a time', async (t, place) => {
    const ids = Array.from({ length: 12 }, (_, at) => `c${at}`);
    const containers = await Promise.all(ids.map((id) => LaunchedContainer.run(place, id)));
    t.equal(new Set(containers.map(({ shim }) => shim.pid)).size, 12);
    t.same(
      await Promise.all(containers.map((container) => container.exec('x', ['true']))),
      ids.map(() => 0),
    );
    await Promise.all(containers.map((container) => container.kill(SIGKILL)));
    await Promise.all(containers.map((container) => container.wait()));
    t.same(
      await Promise.all(containers.map((container) => container.remove())),
      ids.map(() => 137),
    );
  });

  test('a shim is killed: its container is ended by the clean-up, which can be repeated', async (t, place) => {
    const container = await LaunchedContainer.run(place, 'c');
    killProcess(container.shim);
    await gone(container.shim);
    const remains = await place.launcher.cleanUp(place.request('c'));
    t.match(remains, { pid: container.pid, exitStatus: 137 });
    t.equal((await place.launcher.cleanUp(place.request('c'))).exitStatus, 137);
    container.leave();
    place.removeBundle('c');
  });
}

function adoptions(test: Declare): void {
  test('an adopted shim refuses to be adopted again', async (t, place) => {
    const { connection, adopted, process } = await place.launch('c', sleeper);
    await adopted;
    mkdirSync(place.request('d').bundle);
    const { namespace, id, bundle, socketPath: socket } = place.request('d');
    t.equal(await code(connection.adopt({ namespace, id, bundle, socket }, 2000)), 'failed precondition');
    await connection.call('shutdown', { id: 'c' }).catch(() => undefined);
    await gone(process);
    place.removeBundle('d');
  });

  test('what cannot be adopted is refused, and the spare ends when it is left', async (t, place) => {
    for (const [wrong, expected] of [
      [{ bundle: place.in('bundles/nowhere') }, 'unknown'],
      [{ bundle: 'relative' }, 'invalid argument'],
      [{ namespace: '../x' }, 'invalid argument'],
      [{ id: '' }, 'invalid argument'],
    ] as const) {
      const socket = place.freshSocket();
      const spare = await place.nursery.bear(socket);
      const connection = await ShimConnection.connect(socket, 2000);
      const { namespace, id, bundle, socketPath } = { ...place.request('c'), ...wrong };
      t.equal(await code(connection.adopt({ namespace, id, bundle, socket: socketPath }, 2000)), expected);
      t.equal(await code(connection.call('state', { id })), 'not implemented');
      connection.close();
      await gone(spare);
    }
  });

  test('no bundle can be made: the launch fails with that, and no process is left', async (t, place) => {
    const contents = { config: Buffer.from('{}'), optionsJson: '{}\n' };
    const launch = place.launcher.launch(place.request('c'), contents, () =>
      Promise.reject(new Error('the disk is full')),
    );
    await t.rejects(launch, { message: 'the disk is full' });
  });
}

function pool(test: Declare): void {
  const spares = (place: NurseryPlace): number => readdirSync(place.in('spares')).length;

  test(
    'spares are kept, taken first, and made up for',
    async (t, place) => {
      place.launcher.start();
      await until('three spares', () => spares(place) === 3);
      const containers = await Promise.all(['a', 'b'].map((id) => LaunchedContainer.run(place, id)));
      await until('the pool to be full again', () => spares(place) === 3);
      for (const container of containers) {
        await container.kill(SIGKILL);
        await container.wait();
        await container.remove();
      }
      t.equal(spares(place), 3);
    },
    { spares: 3 },
  );

  test(
    'the pool is full again after more launches at once than it is made for',
    async (t, place) => {
      place.launcher.start();
      const launches = Array.from({ length: 12 }, (_, at) => LaunchedContainer.create(place, `c${at}`));
      const containers = await Promise.all(launches);
      await until('two spares', () => spares(place) === 2);
      for (const container of containers) {
        await container.kill(SIGKILL);
        await container.wait();
        await container.remove();
      }
      t.equal(spares(place), 2);
    },
    { spares: 2 },
  );

  test(
    'a spare that dies in the pool is replaced, and never given to anybody',
    async (t, place) => {
      place.launcher.start();
      await until('a spare', () => place.spares().length === 1);
      const [first] = place.spares();
      if (first === undefined) throw new Error('there is none');
      killProcess(first);
      await until('another in its place', () => place.spares().some(({ pid }) => pid !== first.pid));
      const container = await LaunchedContainer.run(place, 'c');
      t.not(container.shim.pid, first.pid);
      await until('another', () => place.spares().length === 1);
      await container.kill(SIGKILL);
      await container.wait();
      await container.remove();
    },
    { spares: 1 },
  );
}

function ends(test: Declare): void {
  test(
    'close leaves shims and their containers alone, and takes everything else',
    async (t, place) => {
      const container = await LaunchedContainer.run(place, 'c');
      place.launcher.start();
      await until('the spares', () => place.spares().length === 2);
      await place.launcher.close();
      await until('only shim and container to be there', () => place.processes().length === 2);
      container.leave();
      await container.redial(place);
      t.equal(await container.exec('x', ['true']), 0);
      await container.kill(SIGKILL);
      await container.wait();
      t.equal(await container.remove(), 137);
    },
    { spares: 2 },
  );

  test('after close, and while it is closed, there are no more births', async (t, place) => {
    const early = [place.launch('a', sleeper), place.launch('b', sleeper)].map((launch) => code(launch));
    const closed = place.launcher.close();
    t.same(await Promise.all(early), ['unavailable', 'unavailable']);
    await closed;
    t.equal(await code(place.launch('c', sleeper)), 'unavailable');
    t.equal(await code(place.nursery.bear(place.freshSocket())), 'unavailable');
  });
}
