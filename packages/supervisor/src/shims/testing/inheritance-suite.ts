/**
 * What shims have of the processes that made them, and must not have: descriptors, signals, environment, timers,
 * randomness. Called from each nursery's test. Needs root.
 */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';
import { linux } from '@gantry/libc';
import { ShimConnection } from '../connection.ts';
import type { ProcessIdentity } from '../process-identity.ts';
import { LaunchedContainer } from './launched-container.ts';
import { gone, NurseryPlace, until } from './nursery-place.ts';
import type { MakeNursery, PlaceOptions } from './nursery-place.ts';
import { declarer } from './nursery-suite.ts';
import { pictureOf } from './process-picture.ts';
import type { ProcessPicture } from './process-picture.ts';

const SIGINT = 2;
const SIGKILL = 9;
const SIGUSR1 = 10;
const SIGSEGV = 11;
const SIGPIPE = 13;
const SIGTERM = 15;
const SIGCHLD = 17;
const SIGXFSZ = 25;
const SIGRTMIN = 34;
/** The thread library's, for setuid in all threads. */
const SIGSETXID = 33;

/** Each loop has one of these and a pipe or two; a forked shim has one loop. */
const loopParts = /^(?:anon_inode:\[(?:eventpoll|eventfd|io_uring)\]|pipe:\[\d+\])$/;

/** `forked`: a shim has one thread and one loop. */
export function inheritanceSuite(
  suite: Test,
  make: MakeNursery,
  { forked, ...common }: Partial<PlaceOptions> & { readonly forked: boolean },
): void {
  const test = declarer(suite, make, common);
  // What starts gantryd may have left such a signal ignored (make does), and Node does not reset it.
  linux.ignoreSignal(SIGRTMIN, true);
  suite.teardown(() => linux.ignoreSignal(SIGRTMIN, false));

  test('a spare has a loop, a socket, and nothing of anybody else', async (t, place) => {
    const [socket, otherSocket] = [place.freshSocket(), place.freshSocket()];
    const [spare, other] = [await place.nursery.bear(socket), await place.nursery.bear(otherSocket)];
    const settled = (): boolean => pictureOf(spare.pid).descriptors.get(1) === '/dev/null';
    await until('standard output to be nowhere', settled);
    const picture = pictureOf(spare.pid);
    usual(t, picture, forked);
    t.same(
      [0, 1, 2].map((fd) => picture.descriptors.get(fd)),
      ['/dev/null', '/dev/null', place.in('shims.log')],
    );
    t.same(unexpected(picture), [], 'besides parts of a loop');
    t.equal(sockets(picture).length, 1);
    t.same([picture.session, picture.processGroup, picture.directory], [spare.pid, spare.pid, '/']);
    const makers = [process.pid, ...(forked ? [picture.parent] : [])];
    for (const pid of [...makers, other.pid]) t.same(shared(picture, pictureOf(pid)), [], `shared with process ${pid}`);
    if (forked) t.equal(count(picture, 'anon_inode:[eventpoll]'), 1, 'one loop');
    for (const listening of [socket, otherSocket]) (await ShimConnection.connect(listening, 2000)).close();
    await gone(spare);
    await gone(other);
  });

  test('an adopted shim has its bundle, and its container has nothing of it', async (t, place) => {
    const container = await LaunchedContainer.run(place, 'c');
    const { bundle } = place.request('c');
    const picture = pictureOf(container.shim.pid);
    usual(t, picture, forked);
    t.same(
      [0, 1, 2].map((fd) => picture.descriptors.get(fd)),
      ['/dev/null', '/dev/null', `${bundle}/log`],
    );
    t.equal(picture.directory, bundle);
    t.same(unexpected(picture), ['anon_inode:[pidfd]'], 'besides parts of a loop, the handle of its container');
    t.ok(sockets(picture).length <= 3, 'where it listens, its supervisor, where its events go');
    const init = pictureOf(container.pid);
    t.same(
      [...init.descriptors],
      [
        [0, '/dev/null'],
        [1, '/dev/null'],
        [2, '/dev/null'],
      ],
    );
    t.same(init.signals, { ignored: [], handled: [], blocked: [], pending: [] });
    t.same(
      init.environment.filter((line) => !line.startsWith('HOME=')),
      ['IN=container'],
    );
    t.same([init.session, init.timers, init.threads], [container.pid, '', 1]);
    await container.kill(SIGKILL);
    await container.wait();
    await container.remove();
  });

  function usual(t: Test, picture: ProcessPicture, isForked: boolean): void {
    const own = pictureOf(process.pid);
    t.same(picture.inherited, own.inherited, 'ids, umask, capabilities');
    t.same(picture.environment, [`PATH=${process.env['PATH'] ?? ''}`]);
    t.same([picture.cgroups, picture.root, picture.limits], [own.cgroups, own.root, own.limits]);
    t.same([picture.terminal, picture.timers], [0, '']);
    t.equal(picture.oomScoreAdj, Math.min(own.oomScoreAdj + 1, 1000));
    t.same(picture.signals, {
      ignored: [SIGPIPE, SIGXFSZ],
      handled: [SIGINT, SIGUSR1, SIGSEGV, SIGTERM, SIGCHLD, SIGSETXID],
      blocked: [],
      pending: [],
    });
    if (isForked) t.equal(picture.threads, 1);
  }

  randomness(suite, make, common);
}

/** What is open besides the null device, standard error, sockets and the parts of loops. */
function unexpected({ descriptors }: ProcessPicture): string[] {
  return [...descriptors]
    .filter(([fd, target]) => fd > 2 && target !== '/dev/null' && !loopParts.test(target) && !isSocket(target))
    .map(([, target]) => target);
}

const isSocket = (target: string): boolean => target.startsWith('socket:');
const sockets = ({ descriptors }: ProcessPicture): string[] => [...descriptors.values()].filter(isSocket);
const count = ({ descriptors }: ProcessPicture, wanted: string): number =>
  [...descriptors.values()].filter((target) => target === wanted).length;

/** Pipes and sockets that two processes have open, by their inode numbers. */
function shared(one: ProcessPicture, other: ProcessPicture): string[] {
  const names = new Set(other.descriptors.values());
  return [...one.descriptors.values()].filter((target) => /^(?:pipe|socket):/.test(target) && names.has(target));
}

/** Runs in every process of a place before anything else: a shim that begins to listen draws of everything random. */
const draw = (file: string): string => `
const { appendFileSync } = require('node:fs');
const { Server } = require('node:net');
const { listen } = Server.prototype;
Server.prototype.listen = function (...given) {
  if (JSON.stringify(given).includes('/spares/')) {
    const { randomBytes, randomInt, randomUUID } = require('node:crypto');
    const drawn = [Math.random(), randomUUID(), randomBytes(8).toString('hex'), randomInt(2 ** 47), crypto.randomUUID()];
    appendFileSync(${JSON.stringify(file)}, drawn.map((value) => value + '\\n').join(''));
  }
  return listen.apply(this, given);
};
`;

function randomness(suite: Test, make: MakeNursery, common: Partial<PlaceOptions>): void {
  const skip = process.getuid?.() === 0 ? false : 'needs root';
  void suite.test('no two shims draw the same random numbers', { skip, timeout: 60_000 }, async (t) => {
    const directory = mkdtempSync(path.join(tmpdir(), 'gantry-draw-'));
    t.teardown(() => rmSync(directory, { recursive: true }));
    const [node, program, drawn] = [`${directory}/node`, `${directory}/draw.cjs`, `${directory}/drawn`];
    writeFileSync(program, draw(drawn));
    writeFileSync(node, `#!/bin/sh\nexec ${common.node ?? process.execPath} --require ${program} "$@"\n`);
    chmodSync(node, 0o755);
    const place = await NurseryPlace.open(make, { ...common, node });
    try {
      for (let births = 0; births < 3; births += 1) await gone(await bearAndLeave(place));
      t.ok(existsSync(drawn));
      const values = readFileSync(drawn, 'utf8').trim().split('\n');
      t.equal(values.length, 15);
      t.same(new Set(values).size, values.length, values.join(' '));
    } finally {
      await place.end(t);
    }
  });
}

async function bearAndLeave(place: NurseryPlace): Promise<ProcessIdentity> {
  const socket = place.freshSocket();
  const spare = await place.nursery.bear(socket);
  (await ShimConnection.connect(socket, 2000)).close();
  return spare;
}
