/**
 * The run's own corner of the cgroup trees.
 *
 *   /gantry-bench-<random>/<side>/daemon      the daemon and what it starts: shims, runtimes
 *   /gantry-bench-<random>/<side>/<id>        a container, made by the runtime
 *
 * `<side>` so accounts for everything one side makes the machine do; nothing but accounting is switched on for it.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/** One mounted hierarchy. */
interface Hierarchy {
  readonly dir: string;
  readonly controllers: readonly string[];
  readonly unified: boolean;
}

function hierarchies(): Hierarchy[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [before = '', after = ''] = line.split(' - ');
      const [type = '', , options = ''] = after.split(' ');
      const dir = before.split(' ')[4];
      if (dir === undefined || (type !== 'cgroup' && type !== 'cgroup2')) return [];
      return [{ dir, controllers: options.split(','), unified: type === 'cgroup2' }];
    });
}

/** The groups of one run. `remove` it when everything in it has ended. */
export class CgroupTree {
  /** `gantry-bench-<random>`; also the mark by which what the run left is found. */
  readonly name: string;
  readonly #hierarchies = hierarchies();

  constructor(name: string) {
    this.name = name;
  }

  /** Makes a side's groups in every hierarchy, so that no container's create has to. */
  add(side: string): void {
    for (const { dir, controllers } of this.#hierarchies) {
      for (const part of [this.name, path.join(this.name, side)]) {
        const group = path.join(dir, part);
        mkdirSync(group, { recursive: true });
        if (controllers.includes('cpuset')) copyCpuset(group);
      }
    }
    const accounting = this.#accounting();
    if (accounting !== undefined) mkdirSync(path.join(accounting.dir, this.name, side, 'daemon'), { recursive: true });
  }

  /** Puts a process that has just been started into its side's account; what it starts follows. */
  enter(side: string, pid: number): void {
    const accounting = this.#accounting();
    if (accounting === undefined) return;
    writeFileSync(path.join(accounting.dir, this.name, side, 'daemon', 'cgroup.procs'), `${pid}`);
  }

  /** Milliseconds of processor time that a side has used so far, containers included; undefined when nobody counts. */
  cpuMs(side: string): number | undefined {
    const accounting = this.#accounting();
    if (accounting === undefined) return undefined;
    const group = path.join(accounting.dir, this.name, side);
    if (!accounting.unified) return Number(readFileSync(path.join(group, 'cpuacct.usage'), 'utf8')) / 1e6;
    const usageUs = /^usage_usec (\d+)/m.exec(readFileSync(path.join(group, 'cpu.stat'), 'utf8'))?.[1];
    return usageUs === undefined ? undefined : Number(usageUs) / 1e3;
  }

  /** Directories of the groups of containers, in every hierarchy; the daemon's own left out. */
  groups(side: string): string[] {
    return this.#hierarchies.flatMap(({ dir }) => {
      const group = path.join(dir, this.name, side);
      return readdirSync(group, { withFileTypes: true })
        .filter((entry) => entry.isDirectory() && entry.name !== 'daemon')
        .map((entry) => path.join(group, entry.name));
    });
  }

  /** Removes every group below the run's, bottom first. Returns those that are still in use. */
  remove(): string[] {
    return this.#hierarchies.flatMap(({ dir }) => removeGroup(path.join(dir, this.name)));
  }

  /** On a hybrid host the controller's own hierarchy: the unified tree counts nothing there that v1 counts. */
  #accounting(): Hierarchy | undefined {
    return (
      this.#hierarchies.find(({ controllers }) => controllers.includes('cpuacct')) ??
      this.#hierarchies.find(({ unified }) => unified)
    );
  }
}

/** A new cpuset of v1 is empty, and nothing can be in it until it is filled. */
function copyCpuset(group: string): void {
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    if (readFileSync(path.join(group, file), 'utf8').trim() !== '') continue;
    writeFileSync(path.join(group, file), readFileSync(path.join(path.dirname(group), file), 'utf8'));
  }
}

function removeGroup(group: string): string[] {
  if (!existsSync(group)) return [];
  const below = readdirSync(group, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap((entry) => removeGroup(path.join(group, entry.name)));
  try {
    rmdirSync(group);
    return below;
  } catch {
    return [...below, group];
  }
}
