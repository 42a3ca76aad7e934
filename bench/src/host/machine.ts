/** The machine a run is made on, and how much of it somebody else was using meanwhile. */
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';

export interface Machine {
  readonly model: string;
  readonly processors: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly node: string;
  readonly cgroupMode: 'unified' | 'hybrid' | 'legacy';
}

/** Shares of all the processor time there was during the run. */
export interface Noise {
  /** Used by processes that are not of this run. */
  readonly othersShare: number;
  /** Taken by the host of a virtual machine. */
  readonly stealShare: number;
  readonly loadBefore: number;
}

export function describeMachine(): Machine {
  const unified = existsSync('/sys/fs/cgroup/cgroup.controllers');
  const hybrid = existsSync('/sys/fs/cgroup/unified');
  return {
    model: cpus()[0]?.model.trim() ?? 'unknown processor',
    processors: availableParallelism(),
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.versions.node,
    cgroupMode: unified ? 'unified' : hybrid ? 'hybrid' : 'legacy',
  };
}

interface Times {
  readonly totalMs: number;
  readonly busyMs: number;
  readonly stealMs: number;
}

/** proc_stat(5); USER_HZ is 100 on every Linux that Node runs on. */
function processorTimes(): Times {
  const line = /^cpu +(.*)$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1] ?? '';
  const [user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, soft = 0, steal = 0] = line
    .split(' ')
    .map((ticks) => Number(ticks) * 10);
  const busyMs = user + nice + system + irq + soft;
  return { totalMs: busyMs + idle + wait + steal, busyMs, stealMs: steal };
}

/** Watches from its making until `noise` is asked. */
export class NoiseMeter {
  readonly #before = processorTimes();
  readonly #clientBefore = process.cpuUsage();
  readonly #loadBefore = loadavg()[0] ?? 0;

  /** `ownMs`: what the daemons and their children used; the bench's own share is known here. */
  noise(ownMs: number): Noise {
    const after = processorTimes();
    const client = process.cpuUsage(this.#clientBefore);
    const totalMs = Math.max(after.totalMs - this.#before.totalMs, 1);
    const othersMs = after.busyMs - this.#before.busyMs - ownMs - (client.user + client.system) / 1e3;
    return {
      othersShare: Math.max(othersMs, 0) / totalMs,
      stealShare: (after.stealMs - this.#before.stealMs) / totalMs,
      loadBefore: this.#loadBefore,
    };
  }
}
