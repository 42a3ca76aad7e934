/** OCI runtime command lines side by side: Debian's runc and crun, and ours, over bundles of busybox. */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import type { Linux, Process, Root, Spec } from '@gantry/oci';
import { defaultCapabilities, defaultMaskedPaths, defaultMounts, defaultReadonlyPaths } from '@gantry/oci';
import { run } from './command.ts';
import { checkout } from './scratch.ts';
import { busyboxBinary } from './tarball.ts';

// Under a service manager that waits, every detached container would be waited for.
delete process.env['NOTIFY_SOCKET'];

/** The commands that are compared, by name. */
export const runtimeCommands = {
  runc: '/usr/sbin/runc',
  crun: '/usr/bin/crun',
  gantry: path.join(checkout, 'runtime/bin/gantry-runtime.cjs'),
} as const;

export type RuntimeName = keyof typeof runtimeCommands;

export interface RuntimeResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const applets =
  'sh true false sleep cat echo id ls mount hostname ps env pwd kill head grep stat ip touch dd wc tty stty mkdir rm ' +
  'ln chmod tail test date uname mknod umount readlink sync sort cut tr find sed awk printf nproc seq ionice chrt';

/** The type without its `readonly`s, for configurations that a test puts together. */
export type Writable<T> = { -readonly [K in keyof T]: T[K] extends object | undefined ? Writable<T[K]> : T[K] };

/** A configuration with all its parts. */
export type TestSpec = Writable<Omit<Spec, 'process' | 'linux' | 'mounts' | 'root'>> & {
  process: Writable<Process>;
  linux: Writable<Linux>;
  mounts: Writable<NonNullable<Spec['mounts']>>;
  root: Writable<Root>;
};

/** A bundle and a state directory for each runtime, in one scratch directory. */
export class RuntimeBench {
  readonly dir = mkdtempSync('/tmp/gr-');
  readonly bundle = path.join(this.dir, 'bundle');
  readonly rootfs = path.join(this.bundle, 'rootfs');
  /** The name of every control group that a container of this bench is below. */
  readonly group = path.basename(this.dir);

  constructor() {
    mkdirSync(path.join(this.rootfs, 'bin'), { recursive: true });
    const places = ['etc', 'proc', 'sys', 'dev', 'tmp', 'root', 'run', 'home', 'var', 'mnt'];
    for (const name of places) mkdirSync(path.join(this.rootfs, name));
    writeFileSync(path.join(this.rootfs, 'bin/busybox'), busyboxBinary(), { mode: 0o755 });
    for (const applet of applets.split(' ')) symlinkSync('busybox', path.join(this.rootfs, 'bin', applet));
    writeFileSync(
      path.join(this.rootfs, 'etc/passwd'),
      'root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/home/web:/bin/sh\n',
    );
    writeFileSync(path.join(this.rootfs, 'etc/group'), 'root:x:0:\nweb:x:1000:\nextra:x:2000:web\n');
  }

  /** An ordinary configuration; `change` alters it. It is not written. */
  spec(args: readonly string[], change: (spec: TestSpec) => void = () => undefined): TestSpec {
    const spec: TestSpec = {
      ociVersion: '1.0.2',
      process: {
        args: [...args],
        cwd: '/',
        env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'],
        user: { uid: 0, gid: 0 },
        noNewPrivileges: true,
        capabilities: {
          bounding: [...defaultCapabilities],
          effective: [...defaultCapabilities],
          permitted: [...defaultCapabilities],
        },
      },
      root: { path: 'rootfs' },
      hostname: 'box',
      mounts: structuredClone(defaultMounts) as TestSpec['mounts'],
      linux: {
        cgroupsPath: `/${this.group}/c`,
        namespaces: [{ type: 'pid' }, { type: 'network' }, { type: 'ipc' }, { type: 'uts' }, { type: 'mount' }],
        resources: { devices: [{ allow: false, access: 'rwm' }] },
        maskedPaths: [...defaultMaskedPaths],
        readonlyPaths: [...defaultReadonlyPaths],
      },
    };
    change(spec);
    return spec;
  }

  /** Writes the bundle's config.json. */
  configure(spec: unknown): void {
    writeFileSync(path.join(this.bundle, 'config.json'), typeof spec === 'string' ? spec : JSON.stringify(spec));
  }

  stateRoot(name: RuntimeName): string {
    return path.join(this.dir, name);
  }

  /** Runs one command with the runtime's own state directory; the working directory is the bundle. */
  call(
    name: RuntimeName,
    words: readonly string[],
    options: { input?: string; timeoutMs?: number } = {},
  ): RuntimeResult {
    const { stdout, stderr, status, signal, error } = spawnSync(
      runtimeCommands[name],
      ['--root', this.stateRoot(name), ...words],
      { encoding: 'utf8', input: options.input ?? '', timeout: options.timeoutMs ?? 30_000, cwd: this.bundle },
    );
    if (error !== undefined) throw error;
    return { code: status ?? (signal === null ? -1 : 128), stdout, stderr };
  }

  /** As `call`, without keeping the test's own event loop from running. */
  callAsync(name: RuntimeName, words: readonly string[]): Promise<RuntimeResult> {
    return run(...this.command(name, words), { cwd: this.bundle });
  }

  /** As `call`, for a command whose output goes to files: a detached container keeps a pipe open. */
  callDetached(name: RuntimeName, words: readonly string[], options: { timeoutMs?: number } = {}): RuntimeResult {
    const { status, stderr } = spawnSync(
      '/bin/sh',
      ['-c', 'exec "$@" >"$OUT" 2>"$OUT.err" </dev/null', 'sh', ...this.command(name, words).flat()],
      {
        encoding: 'utf8',
        timeout: options.timeoutMs ?? 30_000,
        cwd: this.bundle,
        env: { ...process.env, OUT: path.join(this.dir, 'out') },
      },
    );
    const read = (file: string): string => spawnSync('cat', [path.join(this.dir, file)], { encoding: 'utf8' }).stdout;
    return { code: status ?? -1, stdout: read('out'), stderr: stderr + read('out.err') };
  }

  /** The command and its words, for `spawn`. */
  command(name: RuntimeName, words: readonly string[]): [string, string[]] {
    return [runtimeCommands[name], ['--root', this.stateRoot(name), ...words]];
  }

  /** Runs `script` by a shell whose `$@` is the command; for descriptors and limits that only a shell sets up easily. */
  callThroughShell(script: string, name: RuntimeName, words: readonly string[]): RuntimeResult {
    const [command, args] = this.command(name, words);
    const { stdout, stderr, status } = spawnSync('/bin/sh', ['-c', script, 'sh', command, ...args], {
      encoding: 'utf8',
      timeout: 30_000,
      cwd: this.bundle,
    });
    return { code: status ?? -1, stdout, stderr };
  }

  /** Deletes what is left and the scratch directory; returns what would not go. */
  remove(): string[] {
    if (!existsSync(this.dir)) return [];
    for (const name of Object.keys(runtimeCommands) as RuntimeName[]) {
      const root = this.stateRoot(name);
      if (!existsSync(root)) continue;
      for (const id of readdirSync(root)) this.call(name, ['delete', '--force', id]);
    }
    // Runc leaves the directory above a container's group; one in it would be a container's.
    const left = this.groups().filter((group) =>
      readdirSync(group, { withFileTypes: true }).some((one) => one.isDirectory()),
    );
    for (const group of this.groups()) removeTree(group);
    rmSync(this.dir, { recursive: true, force: true });
    return left;
  }

  /** The bench's control groups that are there. */
  groups(): string[] {
    const top = '/sys/fs/cgroup';
    return ['.', ...readdirSync(top)]
      .map((name) => path.join(top, name, this.group))
      .filter((directory) => existsSync(directory));
  }
}

function removeTree(directory: string): void {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(path.join(directory, entry.name));
  }
  try {
    rmdirSync(directory);
  } catch {
    // Still in use: it is reported by whoever asked.
  }
}

/** The sentences of an error log on standard error, without times and marks of the log's format. */
export function sentences(stderr: string): string[] {
  return stderr
    .split('\n')
    .map((line) => /^time="[^"]*" level=(?:error|fatal) msg="(.*)"$/.exec(line)?.[1]?.replaceAll('\\"', '"'))
    .filter((line) => line !== undefined);
}
