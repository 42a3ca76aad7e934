#!/usr/bin/env node
// Makes the npm packages of the built checkout: one tarball a workspace that is published (not test, not bench).
// usage: scripts/pack.mjs DIRECTORY [PACKAGE …]   PACKAGE: a name such as @gantry/client, with what it depends on of ours
//
// Packed is a copy of the workspace with the licence and with where it comes from: `gitHead`, the commit, and `repository`,
// the address it was cloned from (GANTRY_REPOSITORY names another, `git+https://…`). Without either, as from a tarball of
// the sources, the field is left out; `npm publish` with provenance then refuses, as it should.
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const top = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const run = promisify(execFile);
const notPublished = ['test', 'bench'];

const [out, ...wanted] = process.argv.slice(2);
if (out === undefined) {
  process.stderr.write('usage: scripts/pack.mjs DIRECTORY [PACKAGE …]\n');
  process.exit(2);
}

const readJson = async (file) => JSON.parse(await readFile(file, 'utf8'));

/** What git says, or undefined outside of a clone. */
const git = (...args) =>
  run('git', ['-C', top, ...args]).then(
    ({ stdout }) => stdout.trim(),
    () => undefined,
  );

/** An address that strangers can use; a path on this machine is none. */
async function repositoryUrl() {
  const url = process.env.GANTRY_REPOSITORY ?? (await git('config', '--get', 'remote.origin.url'));
  return url !== undefined && /^(git\+)?(https|ssh|git):\/\/|^git@/.test(url) ? url : undefined;
}

/** Package name → its workspace. */
async function published() {
  const { workspaces } = await readJson(path.join(top, 'package.json'));
  const rooms = workspaces.filter((room) => !notPublished.includes(room));
  return new Map(
    await Promise.all(
      rooms.map(async (room) => {
        const manifest = await readJson(path.join(top, room, 'package.json'));
        return [manifest.name, { room, manifest }];
      }),
    ),
  );
}

function withDependencies(names, all) {
  const chosen = new Set();
  const add = (name) => {
    const found = all.get(name);
    if (found === undefined) throw new Error(`${name} is not a package of this checkout`);
    if (chosen.has(name)) return;
    chosen.add(name);
    Object.keys(found.manifest.dependencies ?? {})
      .filter((dependency) => all.has(dependency))
      .forEach(add);
  };
  names.forEach(add);
  return [...chosen];
}

/** The workspace as it is packed, below `scratch`. */
async function stage({ room, manifest }, origin, scratch) {
  const copy = path.join(scratch, path.basename(room));
  await mkdir(copy);
  for (const part of await readdir(path.join(top, room))) {
    if (['node_modules', 'package.json'].includes(part)) continue;
    await cp(path.join(top, room, part), path.join(copy, part), { recursive: true });
  }
  await cp(path.join(top, 'LICENSE'), path.join(copy, 'LICENSE'));
  const repository = origin.url === undefined ? {} : { repository: { type: 'git', url: origin.url, directory: room } };
  const gitHead = origin.commit === undefined ? {} : { gitHead: origin.commit };
  await writeFile(
    path.join(copy, 'package.json'),
    `${JSON.stringify({ ...manifest, ...repository, ...gitHead }, undefined, 2)}\n`,
  );
  return copy;
}

const all = await published();
const origin = { url: await repositoryUrl(), commit: await git('rev-parse', 'HEAD') };
const scratch = await mkdtemp(path.join(tmpdir(), 'gantry-pack-'));
try {
  await mkdir(out, { recursive: true });
  const names = wanted.length === 0 ? [...all.keys()] : withDependencies(wanted, all);
  const copies = await Promise.all(names.map((name) => stage(all.get(name), origin, scratch)));
  const { stdout } = await run('npm', ['pack', ...copies, '--pack-destination', path.resolve(out), '--json'], {
    cwd: scratch,
    maxBuffer: 64 * 1024 * 1024,
  });
  for (const { filename } of JSON.parse(stdout)) process.stdout.write(`${path.join(out, filename)}\n`);
} finally {
  await rm(scratch, { recursive: true, force: true });
}
