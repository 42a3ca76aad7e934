/** A control group of a test's own that limits how many processes and threads a gantryd and its shims may be. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/** The hierarchy that has the pids controller: its own on v1, everything's on v2. */
function pidsRoot(): string | undefined {
  if (existsSync('/sys/fs/cgroup/pids/cgroup.procs')) return '/sys/fs/cgroup/pids';
  const controllers = '/sys/fs/cgroup/cgroup.subtree_control';
  return existsSync(controllers) && /\bpids\b/.test(readFileSync(controllers, 'utf8')) ? '/sys/fs/cgroup' : undefined;
}

/** Why there can be no such group here; undefined when there can. */
export function pidsUnlimited(): string | undefined {
  return pidsRoot() === undefined ? 'needs the pids controller' : undefined;
}

export class PidsGroup {
  readonly directory: string;

  /** `name` must be a scratch name. */
  constructor(name: string) {
    this.directory = path.join(pidsRoot() ?? '', name);
    mkdirSync(this.directory);
  }

  /** The words before a command that make it begin its life in the group. */
  get runner(): readonly string[] {
    return ['/bin/sh', '-c', `echo $$ > ${this.directory}/cgroup.procs && exec "$@"`, 'sh'];
  }

  /** How many there are: threads count. */
  get current(): number {
    return Number(readFileSync(path.join(this.directory, 'pids.current'), 'utf8'));
  }

  limit(max: number | 'max'): void {
    writeFileSync(path.join(this.directory, 'pids.max'), String(max));
  }

  remove(): void {
    rmdirSync(this.directory);
  }
}
