/** Node programs of other versions, for tests of what depends on Node's insides. */
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { run } from './command.ts';
import { checkout } from './scratch.ts';

/** Either the program or why there is none. */
export type NodeBinary = { readonly program: string } | { readonly missing: string };

/** How long a download may take; it is about 45 MB. */
const fetchMs = 90_000;

/**
 * The Node of a version (`22`, `latest`): `GANTRY_TEST_NODES/<version>/bin/node` where that is set, else the binary of the
 * npm package node-linux-<arch>, fetched once by npm into node_modules/.cache.
 */
export async function nodeBinary(version: string): Promise<NodeBinary> {
  const given = process.env['GANTRY_TEST_NODES'];
  if (given !== undefined) {
    const program = path.join(given, version, 'bin/node');
    return existsSync(program) ? { program } : { missing: `needs ${program} (GANTRY_TEST_NODES)` };
  }
  const name = `node-linux-${process.arch}`;
  const place = path.join(checkout, 'node_modules/.cache/gantry-test-nodes', version);
  const program = path.join(place, 'node_modules', name, 'bin/node');
  if (!existsSync(program)) await fetch(`${name}@${version}`, place);
  return existsSync(program) ? { program } : { missing: `needs Node ${version}: npm has no ${name}@${version} here` };
}

/** Leaves the place without the program when npm cannot. */
async function fetch(what: string, place: string): Promise<void> {
  mkdirSync(place, { recursive: true });
  const flags = ['--no-save', '--no-audit', '--no-fund', '--ignore-scripts', '--fetch-retries=0', '--prefix', place];
  await run('npm', ['install', ...flags, what], { cwd: place, timeoutMs: fetchMs }).catch(() => undefined);
}
