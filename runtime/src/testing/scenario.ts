/**
 * Real containers for tests: a scenario is carried out by `driver.ts` in a process of its own (single-threaded Node, as
 * the shim is) and its results come back as JSON.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Linux, Process, Root, Spec } from '@gantry/oci';
import { defaultCapabilities, defaultMaskedPaths, defaultMounts, defaultReadonlyPaths } from '@gantry/oci';
import type { RootfsMount } from '../container.ts';

/** One step after the container was created. */
export type Step =
  | { readonly do: 'start' }
  /** Waits for init and reaps it. */
  | { readonly do: 'wait' }
  | { readonly do: 'exec'; readonly process: Process; readonly wait?: boolean; readonly input?: string }
  | { readonly do: 'kill'; readonly signal: number; readonly all?: boolean }
  | { readonly do: 'pause' | 'resume' | 'pids' | 'stats' | 'destroy' | 'oomKills' | 'forget' }
  /** Reads what the terminal says until it says `until`, after writing `input` to it. */
  | { readonly do: 'terminal'; readonly input?: string; readonly until: string }
  /** A command of the host, with the container's pid in place of PID. */
  | { readonly do: 'host'; readonly command: readonly string[] }
  | { readonly do: 'sleep'; readonly ms: number };

export interface Scenario {
  readonly id: string;
  readonly spec: Spec;
  readonly rootfs?: readonly RootfsMount[];
  readonly timeoutMs?: number;
  readonly noPivot?: boolean;
  readonly steps: readonly Step[];
}

export interface StepResult {
  readonly error?: { readonly code: string; readonly message: string };
  /** Exit status of a process that was waited for. */
  readonly status?: number;
  readonly output?: string;
  readonly value?: unknown;
}

export interface ScenarioResult {
  /** Of the create itself; there are no steps then. */
  readonly error?: { readonly code: string; readonly message: string };
  readonly steps: readonly StepResult[];
  /** What init has written to stdout and stderr. */
  readonly output: string;
  /** What was there when it should not have been. */
  readonly leaks: readonly string[];
}

/** Why tests with containers cannot run here; undefined when they can. */
export function whyNotReal(): string | undefined {
  if (process.getuid?.() !== 0) return 'containers need root';
  return existsSync('/bin/busybox') || existsSync('/usr/bin/busybox') ? undefined : 'no static busybox';
}

/** Every path of a container's own in one temporary directory. */
export class Bundle {
  static #next = 0;
  readonly dir = mkdtempSync(join(tmpdir(), 'gantry-runtime-'));
  readonly rootfs = join(this.dir, 'rootfs');
  readonly id = `test-${process.pid}-${Bundle.#next++}`;

  constructor() {
    mkdirSync(join(this.rootfs, 'bin'), { recursive: true });
    for (const name of ['etc', 'proc', 'sys', 'dev', 'tmp', 'root', 'run']) mkdirSync(join(this.rootfs, name));
    const busybox = ['/bin/busybox', '/usr/bin/busybox'].find((path) => existsSync(path)) ?? '';
    copyFileSync(busybox, join(this.rootfs, 'bin/busybox'));
    for (const applet of [
      'sh',
      'cat',
      'true',
      'false',
      'sleep',
      'id',
      'ls',
      'mount',
      'stat',
      'hostname',
      'readlink',
      'ps',
      'tty',
      'stty',
      'dd',
      'touch',
      'echo',
      'ln',
      'chmod',
      'head',
      'mkdir',
      'ip',
      'date',
      'umount',
      'test',
      'grep',
      'tail',
      'sync',
      'env',
      'pwd',
      'wc',
      'uname',
    ]) {
      symlinkSync('busybox', join(this.rootfs, 'bin', applet));
    }
    writeFileSync(
      join(this.rootfs, 'etc/passwd'),
      'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n',
    );
    writeFileSync(join(this.rootfs, 'etc/group'), 'root:x:0:\n');
  }

  get cgroup(): string {
    return `/gantry-test-${this.id}/container`;
  }

  /** An ordinary configuration of `args`; `change` alters it. */
  spec(args: readonly string[], change: (spec: TestSpec) => void = () => undefined): Spec {
    const spec: TestSpec = {
      ociVersion: '1.1.0',
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
        cgroupsPath: this.cgroup,
        namespaces: [{ type: 'pid' }, { type: 'network' }, { type: 'ipc' }, { type: 'uts' }, { type: 'mount' }],
        maskedPaths: [...defaultMaskedPaths],
        readonlyPaths: [...defaultReadonlyPaths],
      },
    };
    change(spec);
    return spec;
  }

  /** Carries a scenario out in a process of its own. */
  run(scenario: Omit<Scenario, 'id'>, node = process.execPath): ScenarioResult {
    const driver = fileURLToPath(new URL('driver.js', import.meta.url));
    const file = join(this.dir, 'scenario.json');
    writeFileSync(file, JSON.stringify({ ...scenario, id: this.id }));
    const { stdout, stderr, status } = spawnSync(node, ['--single-threaded', driver, this.dir], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    if (status !== 0) throw new Error(`the driver ended with ${String(status)}: ${stderr}${stdout}`);
    return JSON.parse(readFileSync(join(this.dir, 'result.json'), 'utf8')) as ScenarioResult;
  }

  /** Creates, starts and waits: the output of a process and how it ended. */
  runOnce(
    args: readonly string[],
    change?: (spec: TestSpec) => void,
    more: Pick<Scenario, 'rootfs'> = {},
  ): { result: ScenarioResult; status: number; output: string } {
    const steps: Step[] = [{ do: 'start' }, { do: 'wait' }, { do: 'destroy' }];
    const result = this.run({ spec: this.spec(args, change), steps, ...more });
    return { result, status: result.steps[1]?.status ?? -1, output: result.output };
  }

  /** Runs the same configuration by runc; undefined where there is none. */
  runByRunc(spec: Spec): { status: number; output: string } | undefined {
    if (!existsSync('/usr/sbin/runc')) return undefined;
    writeFileSync(join(this.dir, 'config.json'), JSON.stringify(spec));
    const { stdout, stderr, status } = spawnSync(
      'runc',
      ['--root', join(this.dir, 'runc'), 'run', '-b', this.dir, this.id],
      {
        encoding: 'utf8',
        timeout: 60_000,
      },
    );
    return { status: status ?? -1, output: stdout + stderr };
  }

  /** Gives the image what the host's node binary needs to run in it. */
  addLibrariesOfNode(): void {
    const { stdout } = spawnSync('ldd', [process.execPath], { encoding: 'utf8' });
    for (const [path] of stdout.matchAll(/\/\S+\.so[^\s:]*/g)) {
      mkdirSync(join(this.rootfs, dirname(path)), { recursive: true });
      copyFileSync(path, join(this.rootfs, path));
    }
  }

  remove(): void {
    rmSync(this.dir, { recursive: true, force: true });
    // The directory above the test's group is ours too, where a run did not take it along.
    for (const controller of [
      'cpu',
      'cpuacct',
      'cpuset',
      'memory',
      'devices',
      'freezer',
      'blkio',
      'pids',
      'systemd',
      'unified',
      '.',
    ]) {
      const path = join('/sys/fs/cgroup', controller, `gantry-test-${this.id}`);
      if (existsSync(path)) execFileSync('rmdir', [path]);
    }
  }
}

/** The type without its `readonly`s, for configurations that a test puts together. */
export type Writable<T> = { -readonly [K in keyof T]: T[K] extends object | undefined ? Writable<T[K]> : T[K] };

/** A configuration with all its parts. */
export type TestSpec = Writable<Omit<Spec, 'process' | 'linux' | 'mounts' | 'root'>> & {
  process: Writable<Process>;
  linux: Writable<Linux>;
  mounts: Writable<NonNullable<Spec['mounts']>>;
  root: Writable<Root>;
};
