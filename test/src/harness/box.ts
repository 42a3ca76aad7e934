/** One gantryd with the busybox image in a namespace of its own, and the checks every test ends with. */
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type t from 'tap';
import { until } from './command.ts';
import type { CommandOptions, CommandResult } from './command.ts';
import { ctr, gantryd } from './gantryd.ts';
import type { DaemonProcess } from './gantryd.ts';
import { hostState, leaks } from './leaks.ts';
import { removeScratch, scratchDirectory, scratchNamespace } from './scratch.ts';
import { ociArchive } from './tarball.ts';

/** A task as `ctr tasks ls` shows it. */
export interface ListedTask {
  readonly pid: number;
  readonly status: string;
}

export class Box {
  readonly dir = scratchDirectory();
  readonly namespace = scratchNamespace();
  readonly daemon: DaemonProcess & { root: string; state: string } = gantryd(this.dir);
  readonly #before = hostState();

  /** Starts gantryd and imports the image. */
  async start(): Promise<void> {
    await this.daemon.start();
    const archive = path.join(this.dir, 'box.tar');
    writeFileSync(archive, ociArchive());
    const { code, stderr } = await this.ctr(['images', 'import', archive]);
    if (code !== 0) throw new Error(stderr);
  }

  ctr(words: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    return ctr(this.daemon, this.namespace, words, options);
  }

  /** Task id → pid and status. */
  async tasks(): Promise<Map<string, ListedTask>> {
    const { code, stdout, stderr } = await this.ctr(['tasks', 'ls']);
    if (code !== 0) throw new Error(`ctr tasks ls: ${stderr}`);
    const rows = stdout.trim().split('\n').slice(1);
    return new Map(
      rows.map((row) => {
        const [id = '', pid = '', status = ''] = row.split(/\s+/);
        return [id, { pid: Number(pid), status }] as const;
      }),
    );
  }

  /** Bundles, shim sockets and task records that are there. */
  async remains(): Promise<string[]> {
    const tasks = [...(await this.tasks()).keys()].map((id) => `task ${id}`);
    const bundles = list(path.join(this.daemon.state, 'shims', this.namespace)).map((id) => `bundle ${id}`);
    return [...tasks, ...bundles, ...list(path.join(this.daemon.state, 's')).map((name) => `socket ${name}`)];
  }

  /** Removes every task and container, whatever state they are in. */
  async removeAll(): Promise<void> {
    for (const id of (await this.tasks()).keys()) await this.ctr(['tasks', 'rm', '-f', id]);
    const { stdout } = await this.ctr(['containers', 'ls', '-q']);
    for (const id of stdout.trim().split('\n').filter(Boolean)) await this.ctr(['containers', 'rm', id]);
  }

  /** Removes what a failure left behind, stops gantryd, and checks that the run left nothing on the host. */
  async end(test: Pick<typeof t, 'same'>): Promise<void> {
    await this.removeAll();
    // A deleted task's shim ends behind the answer; of one that does not the check below tells.
    await until('the shims to end', async () => (await this.remains()).length === 0, 30_000).catch(() => undefined);
    await this.daemon.stop();
    test.same(leaks(this.#before, [this.dir, this.namespace]), [], 'nothing is left on the host');
    removeScratch(this.dir);
  }
}

/** The parent of a process; of a container's init that is its shim. */
export function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** How many descriptors and threads a process has. */
export function resourcesOf(pid: number): { readonly fds: number; readonly threads: number } {
  return { fds: list(`/proc/${pid}/fd`).length, threads: list(`/proc/${pid}/task`).length };
}

/** What the descriptors of a process are open on, for a message. */
export function descriptorsOf(pid: number): string[] {
  return list(`/proc/${pid}/fd`).map((fd) => {
    try {
      return `${fd}=${readlinkSync(`/proc/${pid}/fd/${fd}`)}`;
    } catch {
      return `${fd}=closed`;
    }
  });
}

function list(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}
