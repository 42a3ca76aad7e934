/**
 * Clients in other languages: the programs of examples/ connect to gantryd and to a stock containerd and run a container to its
 * end, with stubs made of proto/ here and now; in Go also with containerd's own client package.
 *
 * Go programs are built with the modules that this machine has: nothing is fetched unless GANTRY_TEST_GO=fetch.
 */
import t from 'tap';
import { cpSync, existsSync, mkdirSync, readdirSync, rmdirSync, symlinkSync, writeFileSync } from 'node:fs';
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
  scratchNamespace,
  stockContainerd,
} from '../index.ts';
import type { CommandResult, Daemon } from '../index.ts';

const skip = missing('ctr', 'containerd', 'busybox') ?? false;
const buildLimitMs = 150_000;
const namespace = scratchNamespace();
t.setTimeout(580_000);

/** How a program is run: its command line before the socket, and its environment. */
interface Program {
  readonly words: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Debian's Python: another one in PATH does not have Debian's packages. */
const python = '/usr/bin/python3';

/** A program, or why it cannot be had here. */
async function pythonProgram(dir: string): Promise<Program | string> {
  const lacking = missing('protoc', 'grpc_python_plugin');
  if (lacking !== undefined) return lacking;
  if (!existsSync('/usr/include/google/protobuf/any.proto')) return 'needs the Debian package libprotobuf-dev';
  if (!existsSync(python)) return `needs ${python}`;
  const grpc = await run(python, ['-c', 'import grpc, google.protobuf']);
  if (grpc.code !== 0) return 'needs the Debian packages python3-grpcio and python3-protobuf';
  const stubs = path.join(dir, 'stubs');
  const made = await run(path.join(checkout, 'examples/python/make_stubs.sh'), [stubs]);
  if (made.code !== 0) throw new Error(made.stderr);
  return {
    words: [python, path.join(checkout, 'examples/python/run.py')],
    env: { PYTHONPATH: stubs, PYTHONDONTWRITEBYTECODE: '1' },
  };
}

/** Copied, because building leaves files beside the sources. */
async function goProgram(dir: string, name: 'grpc' | 'containerd'): Promise<Program | string> {
  const lacking = missing('go');
  if (lacking !== undefined) return lacking;
  const source = path.join(dir, 'examples/go', name);
  cpSync(path.join(checkout, 'examples/go', name), source, {
    recursive: true,
    filter: (file) => !/\/(stubs|\.bin)$/.test(file),
  });
  if (!existsSync(path.join(dir, 'proto'))) symlinkSync(path.join(checkout, 'proto'), path.join(dir, 'proto'));
  const fetched = process.env['GANTRY_TEST_GO'] === 'fetch';
  const env = { GOFLAGS: '-mod=readonly -buildvcs=false', ...(fetched ? {} : { GOPROXY: 'off' }) };
  const options = { cwd: source, env, timeoutMs: buildLimitMs };
  const listed = await run(
    'go',
    ['list', '-deps', '-e=false', name === 'grpc' ? 'google.golang.org/grpc' : '.'],
    options,
  );
  if (listed.code !== 0) return `needs Go modules that are not here (GANTRY_TEST_GO=fetch fetches them)`;
  if (name === 'grpc') {
    const noProtoc = missing('protoc');
    if (noProtoc !== undefined) return noProtoc;
    const tools = await run(
      'go',
      ['list', '-deps', '-tags=tools', 'google.golang.org/protobuf/cmd/protoc-gen-go'],
      options,
    );
    if (tools.code !== 0) return 'needs the Go module google.golang.org/protobuf';
    const made = await run(path.join(source, 'make_stubs.sh'), [], options).catch(() => undefined);
    if (made === undefined) return `make_stubs.sh takes longer than ${buildLimitMs / 1000} s here`;
    if (made.code !== 0) throw new Error(made.stderr);
  }
  const program = path.join(dir, `go-${name}`);
  const built = await run('go', ['build', '-o', program, '.'], options).catch(() => undefined);
  if (built === undefined) return `go build takes longer than ${buildLimitMs / 1000} s here`;
  if (built.code !== 0) throw new Error(built.stderr);
  return { words: [program] };
}

function start(program: Program, daemon: Daemon, command: readonly string[]): Promise<CommandResult> {
  const [file = '', ...words] = program.words;
  return run(file, [...words, daemon.address, imageName, ...command], {
    env: { CONTAINERD_NAMESPACE: namespace, ...program.env },
    timeoutMs: 60_000,
  });
}

t.test('clients in other languages', { skip, timeout: 570_000 }, async (t) => {
  const before = hostState();
  const dir = scratchDirectory();
  const archive = path.join(dir, 'box.tar');
  writeFileSync(archive, ociArchive());
  mkdirSync(path.join(dir, 'g'));
  const daemons: readonly Daemon[] = [gantryd(path.join(dir, 'g')), stockContainerd(path.join(dir, 'c'))];
  for (const daemon of daemons) {
    await daemon.start();
    t.equal((await ctr(daemon, namespace, ['images', 'import', archive])).code, 0, `${daemon.name} has the image`);
  }
  const sources: readonly (readonly [string, () => Promise<Program | string>])[] = [
    ['Python, grpcio', () => pythonProgram(dir)],
    ['Go, google.golang.org/grpc', () => goProgram(dir, 'grpc')],
    ["Go, containerd's own client", () => goProgram(dir, 'containerd')],
  ];
  for (const [name, make] of sources) {
    const program = await make();
    await t.test(name, { skip: typeof program === 'string' ? program : false }, async (t) => {
      if (typeof program === 'string') return;
      for (const daemon of daemons) {
        const ended = await start(program, daemon, ['sh', '-c', 'echo out; echo err >&2; exit 7']);
        t.same([ended.code, ended.stdout], [7, 'out\n'], `${daemon.name}: ${ended.stderr}`);
        t.match(ended.stderr, /^connected to v?\d/);
        t.match(ended.stderr, /^err$/m);
        t.match(ended.stderr, /^events: \/tasks\/create \/tasks\/start \/tasks\/exit \/tasks\/delete$/m);
        const failed = await start(program, daemon, ['/no/such/program']);
        t.not(failed.code, 0);
        t.match(failed.stderr, /no such file or directory/);
        const left = await Promise.all(
          [
            ['containers', 'ls', '-q'],
            ['tasks', 'ls', '-q'],
            ['leases', 'ls', '-q'],
          ].map((words) => ctr(daemon, namespace, words)),
        );
        t.same(
          left.map(({ stdout }) => stdout),
          ['', '', ''],
          `${daemon.name}: nothing is left`,
        );
      }
    });
  }
  for (const daemon of daemons) await daemon.stop();
  for (const group of readdirSync('/sys/fs/cgroup').concat('.')) {
    const left = path.join('/sys/fs/cgroup', group, namespace);
    if (existsSync(left)) rmdirSync(left); // what runc leaves is ours to remove; it is empty
  }
  t.same(leaks(before, [dir, namespace]), [], 'nothing is left on the host');
  removeScratch(dir);
});
