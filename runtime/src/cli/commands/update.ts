/** `update`: other limits for a container. */
import { readFileSync } from 'node:fs';
import { failedPrecondition, invalidArgument } from '@gantry/errors';
import { parseLinuxResources } from '@gantry/oci';
import type { LinuxIntelRdt, LinuxResources } from '@gantry/oci';
import { updateResctrl } from '../../resctrl.ts';
import type { Flag, Given } from '../arguments.ts';
import type { Command } from '../command.ts';
import { mergeResources } from '../merge-resources.ts';
import { writeConfig } from '../record.ts';
import { parseSize } from '../sizes.ts';
import { ContainerLock } from '../state-root.ts';
import { StoredContainer } from '../stored-container.ts';

const flags: readonly Flag[] = [
  { name: 'resources', aliases: ['r'], kind: 'text', help: 'file with linux.resources as JSON, - is standard input' },
  { name: 'blkio-weight', kind: 'number', help: 'block I/O weight, 10 to 1000' },
  { name: 'cpu-period', kind: 'number', help: 'microseconds' },
  { name: 'cpu-quota', kind: 'number', help: 'microseconds in a period, -1 for no limit' },
  { name: 'cpu-burst', kind: 'number', help: 'microseconds that may be saved up' },
  { name: 'cpu-share', kind: 'number', help: 'relative weight' },
  { name: 'cpu-rt-period', kind: 'number', help: 'microseconds' },
  { name: 'cpu-rt-runtime', kind: 'number', help: 'microseconds' },
  { name: 'cpu-idle', kind: 'number', help: '1: only when nobody else wants the CPU' },
  { name: 'cpuset-cpus', kind: 'text', help: 'CPU list' },
  { name: 'cpuset-mems', kind: 'text', help: 'memory node list' },
  { name: 'kernel-memory', kind: 'text', help: 'accepted and ignored' },
  { name: 'kernel-memory-tcp', kind: 'text', help: 'accepted and ignored' },
  { name: 'memory', kind: 'text', help: 'bytes, -1 for no limit; k, m, g are understood' },
  { name: 'memory-reservation', kind: 'text', help: 'bytes' },
  { name: 'memory-swap', kind: 'text', help: 'bytes of memory and swap together, -1 for no limit' },
  { name: 'pids-limit', kind: 'number', help: 'most processes, -1 for no limit' },
  { name: 'l3-cache-schema', kind: 'text', help: 'Intel RDT' },
  { name: 'mem-bw-schema', kind: 'text', help: 'Intel RDT' },
];

export const update: Command = {
  name: 'update',
  usage: 'update [options] ID',
  summary: "change a container's limits",
  flags,
  words: [1, 1],
  run({ root }, { given, rest: [id = ''] }) {
    using _ = new ContainerLock(root.existing(id));
    const stored = StoredContainer.load(root, id);
    const rdt = rdtFrom(given);
    const changes = given.text('resources') === '' ? fromFlags(given) : fromFile(given.text('resources'));
    if (!stored.isAlive()) throw failedPrecondition('container not running');
    const { spec } = stored;
    if (rdt !== undefined) updateResctrl({ ...spec.linux?.intelRdt, ...rdt }, id);
    const before = spec.linux?.resources ?? {};
    try {
      stored.open().update(changes);
    } catch (err) {
      // What was changed before the failure goes back to what it was; where nothing was set there is nothing to go to.
      try {
        stored.open().update(before);
      } catch {
        // The first failure is the one to tell.
      }
      throw err;
    }
    writeConfig(stored.directory, {
      ...spec,
      linux: {
        ...spec.linux,
        resources: mergeResources(before, changes),
        ...(rdt === undefined ? {} : { intelRdt: { ...spec.linux?.intelRdt, ...rdt } }),
      },
    });
    return 0;
  },
};

function rdtFrom(given: Given): LinuxIntelRdt | undefined {
  const l3CacheSchema = given.text('l3-cache-schema');
  const memBwSchema = given.text('mem-bw-schema');
  if (l3CacheSchema === '' && memBwSchema === '') return undefined;
  return { ...(l3CacheSchema === '' ? {} : { l3CacheSchema }), ...(memBwSchema === '' ? {} : { memBwSchema }) };
}

function fromFile(path: string): LinuxResources {
  return parseLinuxResources(readFileSync(path === '-' ? 0 : path, 'utf8'));
}

function fromFlags(given: Given): LinuxResources {
  const number = (flag: string): number | undefined => (given.has(flag) ? given.number(flag) : undefined);
  const size = (flag: string): number | undefined => (given.has(flag) ? parseSize(given.text(flag), flag) : undefined);
  const text = (flag: string): string | undefined => (given.text(flag) === '' ? undefined : given.text(flag));
  const weight = number('blkio-weight');
  if (weight !== undefined && weight !== 0 && (weight < 10 || weight > 1000)) {
    throw invalidArgument(`invalid value for blkio-weight: ${weight}`);
  }
  const pids = number('pids-limit');
  return present({
    cpu: present({
      period: number('cpu-period'),
      quota: number('cpu-quota'),
      burst: number('cpu-burst'),
      shares: number('cpu-share'),
      realtimePeriod: number('cpu-rt-period'),
      realtimeRuntime: number('cpu-rt-runtime'),
      idle: number('cpu-idle'),
      cpus: text('cpuset-cpus'),
      mems: text('cpuset-mems'),
    }),
    memory: present({
      limit: size('memory'),
      reservation: size('memory-reservation'),
      swap: size('memory-swap'),
    }),
    blockIO: present({ weight }),
    pids: pids === undefined ? undefined : { limit: pids },
  });
}

type Present<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Without the members that are not there. */
function present<T extends object>(values: T): Present<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Present<T>;
}
