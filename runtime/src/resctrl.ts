/**
 * Intel RDT: shares of cache and memory bandwidth for a container, and counting what it uses, by the kernel's resctrl
 * file system (Documentation/arch/x86/resctrl.rst; runtime specification, config-linux.md "IntelRdt").
 *
 *   /sys/fs/resctrl/                 the root group, `closID` "/"
 *     CLOSID or container's id/      made when it is not there and a schema is given
 *       schemata   tasks
 *       mon_groups/ID/tasks          with `enableMonitoring`
 *
 * What was made goes with the container; a group that the configuration names by `closID` stays.
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { failedPrecondition, wrap } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import type { LinuxIntelRdt } from '@gantry/oci';
import type { CleanUp } from './clean-up.ts';

let root: { readonly path: string | undefined } | undefined;

/** Where resctrl is mounted; undefined where the kernel or the processor has none. Looked up once. */
export function resctrlRoot(): string | undefined {
  root ??= { path: rootIn(readFileSync('/proc/self/mountinfo', 'utf8')) };
  return root.path;
}

/** The mount point of resctrl in a mountinfo text (proc(5)). */
export function rootIn(mountinfo: string): string | undefined {
  const line = mountinfo.split('\n').find((one) => one.includes(' - resctrl '));
  return line?.split(' ')[4];
}

/** A container's groups. */
export interface ResctrlGroups {
  /** The `tasks` files that take its processes. */
  readonly tasks: readonly string[];
  /** What was made for it alone, in the order in which it is to be removed. */
  readonly made: readonly string[];
}

/** Failed precondition where there is no resctrl. */
export function checkResctrl(rdt: LinuxIntelRdt | undefined): void {
  if (rdt !== undefined && resctrlRoot() === undefined) {
    throw failedPrecondition('intelRdt is specified in config, but Intel RDT is not enabled');
  }
}

/** Makes what is not there and sets the shares. A failure is undone by `cleanUp`. */
export function makeResctrl(rdt: LinuxIntelRdt, id: string, cleanUp: CleanUp, at = resctrlRoot() ?? ''): ResctrlGroups {
  const group = groupOf(rdt, id, at);
  const made: string[] = [];
  const make = (directory: string): void => {
    mkdirSync(directory);
    made.unshift(directory);
    cleanUp.add(() => rmdirSync(directory));
  };
  try {
    const lines = schemaLines(rdt);
    const isThere = existsSync(group);
    if (!isThere && rdt.closID !== undefined && lines.length === 0) {
      throw failedPrecondition(`clos dir ${JSON.stringify(group)} does not exist`);
    }
    if (!isThere) make(group);
    // A group that others use already must be what was asked for; the container does not change it for them.
    if (isThere && rdt.closID !== undefined) checkSchemata(group, lines);
    else if (lines.length > 0) writeSchemata(group, lines);
    const own = rdt.closID === undefined ? [] : [group];
    if (rdt.enableMonitoring === true) make(join(group, 'mon_groups', id));
    return { tasks: tasksOf(rdt, id, at), made: made.filter((directory) => !own.includes(directory)) };
  } catch (err) {
    throw wrap(err, 'linux.intelRdt');
  }
}

/** Puts a process into the groups of a container. */
export function joinResctrl(rdt: LinuxIntelRdt | undefined, id: string, pid: number, at = resctrlRoot()): void {
  if (rdt === undefined || at === undefined) return;
  try {
    for (const file of tasksOf(rdt, id, at)) writeFileSync(file, String(pid));
  } catch (err) {
    throw wrap(err, 'joining the resctrl group');
  }
}

/** Sets other shares for a container that runs. */
export function updateResctrl(rdt: LinuxIntelRdt, id: string, at = resctrlRoot()): void {
  checkResctrl(rdt);
  writeSchemata(groupOf(rdt, id, at ?? ''), schemaLines(rdt));
}

/** Removes what was made for a container. Gone already is success. */
export function removeResctrl(made: readonly string[]): void {
  for (const directory of made) {
    try {
      rmdirSync(directory);
    } catch (err) {
      if (!isErrno(err, 'ENOENT')) throw wrap(err, `removing ${directory}`);
    }
  }
}

function groupOf({ closID }: LinuxIntelRdt, id: string, at: string): string {
  return closID === '/' ? at : join(at, closID ?? id);
}

function tasksOf(rdt: LinuxIntelRdt, id: string, at: string): string[] {
  const group = groupOf(rdt, id, at);
  const directories = rdt.enableMonitoring === true ? [group, join(group, 'mon_groups', id)] : [group];
  return directories.map((directory) => join(directory, 'tasks'));
}

function schemaLines({ l3CacheSchema = '', memBwSchema = '', schemata = [] }: LinuxIntelRdt): string[] {
  return [l3CacheSchema, memBwSchema, ...schemata].flatMap((text) => text.split('\n')).filter((line) => line !== '');
}

function writeSchemata(group: string, lines: readonly string[]): void {
  try {
    writeFileSync(join(group, 'schemata'), `${lines.join('\n')}\n`);
  } catch (err) {
    throw wrap(err, `writing ${JSON.stringify(lines.join('\n'))} to ${group}/schemata`);
  }
}

function checkSchemata(group: string, lines: readonly string[]): void {
  if (lines.length === 0) return;
  const there = readFileSync(join(group, 'schemata'), 'utf8').split('\n').flatMap(shares);
  const missing = lines.flatMap(shares).filter((share) => !there.includes(share));
  if (missing.length === 0) return;
  throw failedPrecondition(`the schemata of ${group} are others than those asked for: ${missing.join(' ')}`);
}

/** `L3:0=0f;1=ff` as `L3:0=f`, `L3:1=ff`: the kernel pads numbers and names. */
function shares(line: string): string[] {
  const [name = '', values] = line.split(':');
  if (values === undefined) return [];
  return values.split(';').map(
    (value) =>
      `${name.trim()}:${value
        .replaceAll(/\s/g, '')
        .replace(/=0+(?=[0-9a-f])/i, '=')
        .toLowerCase()}`,
  );
}
