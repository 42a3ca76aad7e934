/**
 * The npm packages as a stranger gets them: packed, installed into an empty project without a registry, its programs compiled
 * with their types and run. Third-party packages are links to the checkout's, which are the locked versions.
 */
import t from 'tap';
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  checkout,
  ctr,
  gantryd,
  hostState,
  imageName,
  leaks,
  missing,
  ociArchive,
  removeScratch,
  run,
  scratchDirectory,
} from '../index.ts';

const skip = missing('npm', 'ctr', 'busybox') ?? false;
t.setTimeout(240_000);

interface Manifest {
  readonly name: string;
  readonly [key: string]: unknown;
}

const readManifest = (dir: string): Manifest => JSON.parse(readFileSync(path.join(dir, 'package.json'), 'utf8'));

/** Third-party package → where the checkout has it for this room. */
function thirdParty(): Record<string, string> {
  const { workspaces } = readManifest(checkout) as unknown as { readonly workspaces: readonly string[] };
  const found: Record<string, string> = {};
  for (const room of workspaces.filter((name) => name !== 'test' && name !== 'bench')) {
    const { dependencies = {} } = readManifest(path.join(checkout, room)) as { readonly dependencies?: object };
    for (const name of Object.keys(dependencies).filter((word) => !word.startsWith('@gantry/'))) {
      const places = [path.join(checkout, room), checkout].map((dir) => path.join(dir, 'node_modules', name));
      found[name] = places.find((place) => readdirOrNone(place).includes('package.json')) ?? name;
    }
  }
  for (const name of ['typescript', '@types/node']) found[name] = path.join(checkout, 'node_modules', name);
  return found;
}

function readdirOrNone(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

const tsconfig = {
  compilerOptions: {
    target: 'es2022',
    lib: ['es2023'],
    module: 'nodenext',
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    types: ['node'],
    outDir: 'out',
  },
  include: ['*.ts'],
};

t.test('the packages in an empty project', { skip, timeout: 230_000 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const tarballs = path.join(dir, 'tarballs');
  const project = path.join(dir, 'project');
  mkdirSync(project);
  const npm = (words: readonly string[], cwd: string) =>
    run('npm', words, { cwd, timeoutMs: 120_000, env: { npm_config_cache: path.join(dir, 'cache') } });

  await t.test('each says what it is, where it comes from and under which licence', async (t) => {
    const packed = await run(process.execPath, [path.join(checkout, 'scripts/pack.mjs'), tarballs], {
      timeoutMs: 120_000,
      env: { npm_config_cache: path.join(dir, 'cache'), GANTRY_REPOSITORY: 'git+https://example.com/gantry.git' },
    });
    t.equal(packed.code, 0, packed.stderr);
    const files = readdirSync(tarballs);
    t.ok(files.length > 15, `${files.length} packages`);
    for (const file of files) {
      const list = (await run('tar', ['-tzf', path.join(tarballs, file)])).stdout.trim().split('\n');
      const manifest: unknown = JSON.parse(
        (await run('tar', ['-xOzf', path.join(tarballs, file), 'package/package.json'])).stdout,
      );
      t.match(manifest, {
        version: /^\d+\.\d+\.\d+/,
        description: /./,
        license: 'Apache-2.0',
        engines: { node: />=/ },
        type: 'module',
        repository: { type: 'git', url: 'git+https://example.com/gantry.git', directory: /./ },
        publishConfig: { access: 'public', provenance: true },
      });
      const { exports, bin = {} } = manifest as { exports: Record<string, unknown>; bin?: Record<string, string> };
      const named = Object.values(exports)
        .flatMap((value) => (typeof value === 'string' ? [value] : Object.values(value as Record<string, string>)))
        .concat(Object.values(bin));
      const wanted = [...named, 'README.md', 'LICENSE'].map((name) => path.posix.join('package', name));
      t.same(
        wanted.filter((name) => !list.includes(name)),
        [],
        `${file}: everything that it names is in it`,
      );
      t.same(
        list.filter((name) => /\.test\.|tsbuildinfo|\.cache$/.test(name)),
        [],
        `${file}: nothing that is of no use`,
      );
    }
  });

  const dependencies = Object.fromEntries([
    ...readdirSync(tarballs).map((file) => [
      `@gantry/${/^gantry-(\w+)-/.exec(file)?.[1]}`,
      `file:${path.join(tarballs, file)}`,
    ]),
    ...Object.entries(thirdParty()).map(([name, place]) => [name, `file:${place}`]),
  ]) as Record<string, string>;
  writeFileSync(
    path.join(project, 'package.json'),
    JSON.stringify({ name: 'empty', private: true, type: 'module', dependencies }),
  );
  writeFileSync(path.join(project, 'tsconfig.json'), JSON.stringify(tsconfig));
  cpSync(path.join(checkout, 'examples/typescript'), project, { recursive: true });

  await t.test('they install without a registry, and the examples compile against their types', async (t) => {
    const installed = await npm(['install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund'], project);
    t.equal(installed.code, 0, installed.stderr);
    const compiled = await run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', '.'], {
      cwd: project,
      timeoutMs: 120_000,
    });
    t.same([compiled.code, compiled.stdout], [0, '']);
  });

  const archive = path.join(dir, 'image.tar');
  writeFileSync(archive, ociArchive());
  await t.test('gantryd from the packages serves, the client runs a container to its end', async (t) => {
    const bin = path.join(project, 'node_modules/@gantry/supervisor/bin/gantryd.js');
    const daemon = gantryd(path.join(dir, 'd'), [], bin);
    await daemon.start();
    const inExample = (words: readonly string[]) => ctr(daemon, 'example', words);
    t.equal((await inExample(['images', 'import', archive])).code, 0);
    const words = ['out/run.js', daemon.address, imageName, 'sh', '-c', 'echo out; echo err >&2; exit 7'];
    const result = await run(process.execPath, words, { cwd: project, timeoutMs: 60_000 });
    t.equal(result.code, 7, result.stderr);
    t.equal(result.stdout, 'out\n');
    const stderr =
      /^connected to \d[^]*err\n[^]*events: \/tasks\/create \/tasks\/start \/tasks\/exit \/tasks\/delete$/m;
    t.match(result.stderr, stderr);
    t.equal((await inExample(['containers', 'ls', '-q'])).stdout, '');
    t.equal((await inExample(['leases', 'ls', '-q'])).stdout, '');
    await daemon.stop();
  });

  await t.test('a supervisor in the program runs one too, and leaves nothing', async (t) => {
    const result = await run(process.execPath, ['out/embedded.js', archive], { cwd: project, timeoutMs: 60_000 });
    t.equal(result.code, 0, result.stderr);
    t.equal(
      result.stdout,
      ['through the container', 'exec ended with 0', 'processes: 1', 'task ended with 137', ''].join('\n'),
    );
  });

  await t.test('the commands are there', async (t) => {
    const bin = readdirSync(path.join(project, 'node_modules/.bin'));
    for (const name of ['gantryd', 'gantry', 'gantry-runtime', 'containerd-shim-gantry-v1'])
      t.ok(bin.includes(name), name);
    t.match((await run(path.join(project, 'node_modules/.bin/gantryd'), ['config', 'default'])).stdout, /^root = /m);
    t.match((await run(path.join(project, 'node_modules/.bin/gantry-runtime'), ['--version'])).stdout, /\d/);
  });
  t.same(leaks(before, [dir]), [], 'nothing is left on the host');
  removeScratch(dir);
});
