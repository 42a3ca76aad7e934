/**
 * A supervisor for tests: the one GANTRY_TEST_ADDRESS names, or a stock containerd of the test's own in a temporary
 * directory. The same tests run against both; that is the proof of compatibility.
 */
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
  closeSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { busyboxMissing } from './images.ts';

export interface TestSupervisor {
  readonly address: string;
  /** Unique to the test; nobody else uses it. */
  readonly namespace: string;
  /** `containerd`, or `given` for the one of the environment. */
  readonly kind: 'containerd' | 'given';
  stop(): Promise<void>;
}

const startTimeoutMs = 15_000;
const stopTimeoutMs = 10_000;

/** Why such tests cannot run here; undefined when they can. */
export function supervisorMissing(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  if (busyboxMissing !== undefined) return busyboxMissing;
  if (process.env['GANTRY_TEST_ADDRESS'] !== undefined) return undefined;
  return spawnSync('containerd', ['--version']).status === 0 ? undefined : 'containerd is not installed';
}

/** Starts one, or takes the given one. Call `stop` when done. */
export async function testSupervisor(): Promise<TestSupervisor> {
  const namespace = `gantry-test-${randomBytes(4).toString('hex')}`;
  const given = process.env['GANTRY_TEST_ADDRESS'];
  if (given !== undefined) {
    return { address: given, namespace, kind: 'given', stop: async () => removeCgroups(namespace) };
  }
  const dir = mkdtempSync(path.join(tmpdir(), 'gantry-client-'));
  const address = path.join(dir, 'c.sock');
  const child = startContainerd(dir, address);
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const deadlineMs = Date.now() + startTimeoutMs;
  while (!(await answers(address))) {
    if (child.exitCode !== null || Date.now() > deadlineMs) {
      throw new Error(`containerd did not start: ${readFileSync(path.join(dir, 'log'), 'utf8')}`);
    }
    await sleep(50);
  }
  return {
    address,
    namespace,
    kind: 'containerd',
    async stop() {
      child.kill('SIGTERM');
      await Promise.race([exited, sleep(stopTimeoutMs, undefined, { ref: false })]);
      child.kill('SIGKILL');
      removeCgroups(namespace);
      // What a failed test left mounted below is not entered.
      spawnSync('rm', ['-rf', '--one-file-system', dir]);
    },
  };
}

/** runc leaves the parent of its cgroups behind: the namespace's, which nobody but this test has used. Empty ones only. */
function removeCgroups(namespace: string): void {
  const root = '/sys/fs/cgroup';
  for (const directory of [root, ...readdirSync(root).map((name) => path.join(root, name))]) {
    try {
      rmdirSync(path.join(directory, namespace));
    } catch {
      // Not there, or somebody still runs in it: then the test has failed already.
    }
  }
}

function startContainerd(dir: string, address: string): ReturnType<typeof spawn> {
  const config = path.join(dir, 'config.toml');
  const lines = [
    'version = 2',
    `root = "${path.join(dir, 'root')}"`,
    `state = "${path.join(dir, 'state')}"`,
    'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
    '[grpc]',
    `  address = "${address}"`,
    '[plugins."io.containerd.internal.v1.opt"]',
    `  path = "${path.join(dir, 'opt')}"`,
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  const log = openSync(path.join(dir, 'log'), 'a');
  const child = spawn('containerd', ['--config', config], { stdio: ['ignore', log, log] });
  closeSync(log);
  return child;
}

function answers(address: string): Promise<boolean> {
  if (!existsSync(address)) return Promise.resolve(false);
  return new Promise((resolve) => {
    const socket = connect(address);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
