/**
 * Everything a run makes on the host, and its end: a temporary directory, the cgroups, two daemons. `end` leaves
 * nothing, whatever happened before, and says what it had to clear away that should have gone by itself.
 */
import { containers, tasks } from '@gantry/api';
import {
  gantryd,
  ociArchive,
  processesWith,
  removeScratch,
  run,
  scratchDirectory,
  stockContainerd,
} from '@gantry/test';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { removeContainer } from '../containers/steps.ts';
import { CgroupTree } from '../host/cgroup-tree.ts';
import type { Options } from '../options.ts';
import { atOnce } from '../workers.ts';
import { containerdShims, gantryShims } from './shims.ts';
import { Side } from './side.ts';

/** Ending containers is given so much time before they are killed without asking anybody. */
const farewellMs = 120_000;

export class Stage {
  readonly sides: readonly Side[];
  /** The random word in everything's name. */
  readonly mark: string;
  readonly #dir = scratchDirectory();
  /** A tmpfs for the daemons' state directories, which are below /run on a host in service. */
  readonly #run = path.join(this.#dir, 'run');
  readonly #cgroups: CgroupTree;
  #ending: Promise<string[]> | undefined;

  constructor(options: Pick<Options, 'gantryd' | 'peerGantryd' | 'runtime' | 'sides' | 'soak'>) {
    const random = randomBytes(4).toString('hex');
    this.mark = `gantry-bench-${random}`;
    this.#cgroups = new CgroupTree(this.mark);
    const wanted = options.soak === undefined ? options.sides : 'gantry';
    const gantry = wanted === 'peer' ? [] : [this.#gantry('gantry', options.gantryd, random)];
    const peer = wanted === 'gantry' ? [] : [this.#peer(options, random)];
    this.sides = [...gantry, ...peer];
  }

  #gantry(name: 'gantry' | 'peer', bin: string | undefined, random: string): Side {
    const dir = path.join(this.#dir, name);
    mkdirSync(dir);
    const program = bin === undefined ? undefined : path.resolve(bin);
    const daemon = gantryd(dir, [], program, undefined, path.join(this.#run, name));
    const namespace = `bench-${name}-${random}`;
    return new Side({
      name,
      title: name === 'gantry' ? 'gantry' : 'other gantry',
      daemon,
      namespace,
      dir,
      cgroups: this.#cgroups,
      shims: () => gantryShims(daemon.state, namespace),
    });
  }

  #peer(options: Pick<Options, 'peerGantryd' | 'runtime'>, random: string): Side {
    if (options.peerGantryd !== undefined) return this.#gantry('peer', options.peerGantryd, random);
    const dir = path.join(this.#dir, 'peer');
    const daemon = stockContainerd(dir, path.join(this.#run, 'peer'));
    const namespace = `bench-peer-${random}`;
    return new Side({
      name: 'peer',
      title: `containerd + ${path.basename(options.runtime ?? 'runc')}`,
      daemon,
      namespace,
      dir,
      cgroups: this.#cgroups,
      runtimeBinary: options.runtime,
      shims: () => containerdShims(daemon.address, namespace),
    });
  }

  /** Where everything of the run is. */
  get dir(): string {
    return this.#dir;
  }

  /** Starts the daemons and gives both the same image. */
  async start(): Promise<void> {
    const archive = path.join(this.#dir, 'image.tar');
    writeFileSync(archive, ociArchive());
    mkdirSync(this.#run);
    const { code, stderr } = await run('mount', ['-t', 'tmpfs', '-o', 'mode=0755', 'gantry-bench', this.#run]);
    if (code !== 0) throw new Error(`mounting a tmpfs at ${this.#run}: ${stderr}`);
    for (const side of this.sides) await side.start(archive);
  }

  /** Processor time that both sides have used so far, in milliseconds. */
  cpuMs(): number {
    return this.sides.reduce((sum, side) => sum + (side.cpuMs() ?? 0), 0);
  }

  /** Ends everything. Returns what had to be swept up; calling it again gives the same promise. */
  end(): Promise<string[]> {
    this.#ending ??= this.#end();
    return this.#ending;
  }

  async #end(): Promise<string[]> {
    const swept: string[] = [];
    for (const side of this.sides) {
      try {
        await Promise.race([removeEverything(side), sleep(farewellMs, undefined, { ref: false })]);
        await side.stop();
      } catch (err) {
        swept.push(`${side.title}: ${err instanceof Error ? err.message : String(err)}`);
      }
    }
    swept.push(...(await this.#killLeftovers()));
    await run('umount', [this.#run]);
    const mounts = await unmountBelow(this.#dir);
    swept.push(...mounts.swept, ...(await this.#removeCgroups()));
    // Never through a mount: what is behind it is not ours to remove.
    if (mounts.left.length === 0) removeScratch(this.#dir);
    else swept.push(`left in place: ${this.#dir}, because of ${mounts.left.join(', ')}`);
    return swept;
  }

  /** Only processes that carry the run's random marks: its directory in their arguments, its cgroup, its environment. */
  async #killLeftovers(): Promise<string[]> {
    const marks = [this.#dir, this.mark];
    const swept = new Set<string>();
    for (let round = 0; round < 100; round += 1) {
      const left = processesWith(marks);
      if (left.length === 0) break;
      // What a daemon's end takes with it may need a moment.
      if (round >= 20) {
        for (const line of left) {
          swept.add(line);
          const pid = Number(/^process (\d+)/.exec(line)?.[1]);
          try {
            process.kill(pid, 'SIGKILL');
          } catch {
            // It has just ended.
          }
        }
      }
      await sleep(50);
    }
    return [...swept];
  }

  async #removeCgroups(): Promise<string[]> {
    let left = this.#cgroups.remove();
    for (let round = 0; left.length > 0 && round < 50; round += 1) {
      await sleep(50);
      left = this.#cgroups.remove();
    }
    return left.map((group) => `cgroup ${group}`);
  }
}

/** Removes whatever containers a daemon still has. */
async function removeEverything(side: Side): Promise<void> {
  if (side.daemon.pid === 0 || side.daemon.hasEnded) return;
  side.reconnect();
  const running = (await side.connection.call(tasks.TasksService, 'list', {})).tasks.map(({ id }) => id);
  const records = (await side.connection.call(containers.ContainersService, 'list', {})).containers.map(({ id }) => id);
  const ids = [...new Set([...running, ...records])];
  await atOnce(8, ids.length, (index) => removeContainer(side, ids[index] ?? ''));
}

function mountsBelow(dir: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((target) => target.startsWith(`${dir}/`))
    .reverse();
}

async function unmountBelow(dir: string): Promise<{ swept: string[]; left: string[] }> {
  const swept = mountsBelow(dir);
  for (const target of swept) await run('umount', ['-l', target]);
  return { swept: swept.map((target) => `mount ${target}`), left: mountsBelow(dir) };
}
