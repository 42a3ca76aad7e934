/**
 * The leak check: what a run left behind on the host. Everything is found by markers (the run's temporary directory
 * and its namespaces), so that it never confuses the run's own things with those of anybody else on the machine.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync, rmdirSync } from 'node:fs';
import path from 'node:path';

function readText(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return ''; // the process ended meanwhile, or the file is not for us
  }
}

function readLink(file: string): string {
  try {
    return readlinkSync(file);
  } catch {
    return '';
  }
}

function list(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

const marked = (text: string, markers: readonly string[]): boolean => markers.some((mark) => text.includes(mark));

/** Living processes that carry a marker in their command line, directory, cgroup or environment. */
export function processesWith(markers: readonly string[]): string[] {
  const found: string[] = [];
  for (const pid of list('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    const stat = readText(`/proc/${pid}/stat`);
    if (stat === '' || /\) [ZX] /.test(stat)) continue;
    const commandLine = readText(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim();
    if (isEndingByItself(commandLine)) continue;
    const places = [
      commandLine,
      readLink(`/proc/${pid}/cwd`),
      readText(`/proc/${pid}/cgroup`),
      readText(`/proc/${pid}/environ`),
    ];
    if (places.some((text) => marked(text, markers))) found.push(`process ${pid}: ${commandLine.slice(0, 200)}`);
  }
  return found;
}

/** sync(1) of committed snapshots, begun before the daemon ended: nothing ends it sooner than the disk. */
const isEndingByItself = (commandLine: string): boolean => commandLine.startsWith('sync -f ');

/** Lines of the host's mount table that carry a marker. */
export function mountsWith(markers: readonly string[]): string[] {
  const lines = readText('/proc/self/mountinfo').split('\n');
  return lines.filter((line) => marked(line, markers)).map((line) => `mount ${line}`);
}

function cgroupsWith(markers: readonly string[], dir = '/sys/fs/cgroup', depth = 4): string[] {
  const found: string[] = [];
  for (const name of list(dir)) {
    const full = path.join(dir, name);
    if (marked(name, markers)) found.push(`cgroup ${full}`);
    else if (depth > 0 && !name.includes('.')) found.push(...cgroupsWith(markers, full, depth - 1));
  }
  return found;
}

/** Directories where ctr and gantry put a run's fifos, and where named network namespaces live. */
const sharedDirectories = ['/run/containerd/fifo', '/run/gantry/fifo', '/run/netns'];

export interface HostState {
  readonly entries: readonly string[];
}

/** What is in the shared directories before a run; compare with `leaks` after it. */
export function hostState(): HostState {
  return { entries: sharedDirectories.flatMap((dir) => list(dir).map((name) => path.join(dir, name))) };
}

/** Whether a living process has something below the directory open: what goes on beside a run is not its leak. */
function isInUse(dir: string): boolean {
  return list('/proc').some(
    (pid) =>
      /^\d+$/.test(pid) &&
      list(`/proc/${pid}/fd`).some((fd) => readLink(`/proc/${pid}/fd/${fd}`).startsWith(`${dir}/`)),
  );
}

/** Everything with a marker that is still there, one line each; empty when nothing leaked. */
export function leaks(before: HostState, markers: readonly string[]): string[] {
  const fresh = hostState().entries.filter((entry) => !before.entries.includes(entry));
  return [
    ...processesWith(markers),
    ...mountsWith(markers),
    ...cgroupsWith(markers),
    // A process of ours that kept it would be in the first list.
    ...fresh.filter((entry) => !isInUse(entry)).map((entry) => `left over ${entry}`),
  ];
}

/** Removes the empty control group that runc leaves above its containers'. One in which something is left stays, to be found. */
export function removeEmptyGroups(name: string): void {
  for (const hierarchy of ['.', ...list('/sys/fs/cgroup')]) {
    const group = path.join('/sys/fs/cgroup', hierarchy, name);
    if (existsSync(group)) removeEmpty(group);
  }
}

/** Removes a directory when nothing is in it. */
export function removeEmpty(dir: string): void {
  try {
    rmdirSync(dir);
  } catch (err) {
    const isOccupied = err instanceof Error && 'code' in err && ['EBUSY', 'ENOTEMPTY'].includes(String(err.code));
    if (!isOccupied) throw err;
  }
}
