/**
 * Program for the full-disk test, to be run in a mount namespace of its own: fills a store on a 16 MiB file system
 * mounted over the directory given as argument, and prints one line of JSON on what happened.
 */
import { execFileSync } from 'node:child_process';
import { codeOf, messageOf } from '@gantry/errors';
import { openStore } from '../lmdb-store.ts';

const [, , dir = '', floor = '0'] = process.argv;
execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', dir]);
const store = await openStore(dir, { minimumFreeBytes: Number(floor) });
let written = 0;
let failure: unknown;
while (failure === undefined) {
  try {
    await store.transact((tx) => tx.put([`k${written}`], Buffer.alloc(20_000)));
    written += 1;
  } catch (err) {
    failure = err;
  }
}
await store.transact((tx) => tx.delete(['k0']));
await store.close();
const again = await openStore(dir, { minimumFreeBytes: 0 });
const last = again.get([`k${written - 1}`])?.length;
await again.close();
process.stdout.write(`${JSON.stringify({ written, code: codeOf(failure), message: messageOf(failure), last })}\n`);
