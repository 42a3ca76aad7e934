/** Limits of a container as properties of its systemd unit (systemd.resource-control(5)). */
import { toInt64, toUint64 } from '@gantry/oci';
import type { LinuxCpu, LinuxDeviceRule, LinuxResources } from '@gantry/oci';
import { sharesToWeight } from '../cpu.ts';
import { deviceAccess, devicePolicy } from '../device-rules.ts';
import type { DeviceRule } from '../device-rules.ts';
import { swapAlone } from '../memory.ts';
import type { Variant } from './wire.ts';

export type Property = readonly [name: string, value: Variant];

/** Which properties a unit has: the generation of its groups, and of systemd. */
export interface Manager {
  readonly unified: boolean;
  readonly version: number;
}

const INFINITY = 0xffff_ffff_ffff_ffffn;
const SECOND_US = 1_000_000n;
const DEFAULT_PERIOD_US = 100_000n;
/** systemd keeps shares of a CPU in hundredths of a second in a second. */
const QUOTA_STEP_US = 10_000n;

export const uint64 = (name: string, value: bigint): Property => [name, { signature: 't', value }];
export const flag = (name: string, value: boolean): Property => [name, { signature: 'b', value }];
export const text = (name: string, value: string): Property => [name, { signature: 's', value }];

const orInfinity = (value: bigint): bigint => (value < 0n ? INFINITY : value);

/** Of what `resources` names, what systemd knows of. Throws invalid argument for limits that contradict each other. */
export function resourceProperties(resources: LinuxResources, manager: Manager): Property[] {
  const { memory, cpu, pids, blockIO, unified } = resources;
  const { unified: isUnified } = manager;
  const properties: Property[] = [];
  const limit = toInt64(memory?.limit ?? 0);
  if (limit !== 0n) properties.push(uint64(isUnified ? 'MemoryMax' : 'MemoryLimit', orInfinity(limit)));
  if (isUnified && memory !== undefined) {
    const reservation = toInt64(memory.reservation ?? 0);
    if (reservation !== 0n) properties.push(uint64('MemoryLow', orInfinity(reservation)));
    const swap = swapAlone(limit, toInt64(memory.swap ?? 0));
    if (swap !== undefined) properties.push(uint64('MemorySwapMax', swap === 'max' ? INFINITY : swap));
  }
  if (cpu !== undefined) properties.push(...cpuProperties(cpu, manager));
  if (pids?.limit !== undefined && pids.limit !== 0) {
    properties.push(uint64('TasksMax', orInfinity(toInt64(pids.limit))));
  }
  if (!isUnified && (blockIO?.weight ?? 0) > 0) properties.push(uint64('BlockIOWeight', BigInt(blockIO?.weight ?? 0)));
  if (isUnified) properties.push(...unifiedProperties(unified ?? {}, manager));
  return properties;
}

function cpuProperties(cpu: LinuxCpu, { unified, version }: Manager): Property[] {
  const properties: Property[] = [];
  const shares = toUint64(cpu.shares ?? 0);
  if (unified && cpu.idle === 1 && version >= 252) properties.push(uint64('CPUWeight', 0n));
  else if (shares !== 0n) {
    properties.push(
      unified ? uint64('CPUWeight', BigInt(sharesToWeight(Number(shares)))) : uint64('CPUShares', shares),
    );
  }
  properties.push(...quotaProperties(toInt64(cpu.quota ?? 0), toUint64(cpu.period ?? 0), version));
  if (version >= 244) {
    if (cpu.cpus) properties.push(['AllowedCPUs', { signature: 'ay', value: rangeMask(cpu.cpus) }]);
    if (cpu.mems) properties.push(['AllowedMemoryNodes', { signature: 'ay', value: rangeMask(cpu.mems) }]);
  }
  return properties;
}

function quotaProperties(quota: bigint, period: bigint, version: number): Property[] {
  const properties: Property[] = [];
  if (period !== 0n && version >= 242) properties.push(uint64('CPUQuotaPeriodUSec', period));
  if (quota === 0n && period === 0n) return properties;
  properties.push(uint64('CPUQuotaPerSecUSec', quota > 0n ? quotaPerSecond(quota, period) : INFINITY));
  return properties;
}

function quotaPerSecond(quota: bigint, period: bigint): bigint {
  const exact = (quota * SECOND_US) / (period === 0n ? DEFAULT_PERIOD_US : period);
  return ((exact + QUOTA_STEP_US - 1n) / QUOTA_STEP_US) * QUOTA_STEP_US;
}

/** The limits as systemd will keep them: a quota that is no multiple of its step is rounded up to one. */
export function roundedForSystemd(resources: LinuxResources): LinuxResources {
  const quota = toInt64(resources.cpu?.quota ?? 0);
  if (quota <= 0n) return resources;
  const period = toUint64(resources.cpu?.period ?? 0);
  const rounded = (quotaPerSecond(quota, period) * (period === 0n ? DEFAULT_PERIOD_US : period)) / SECOND_US;
  return { ...resources, cpu: { ...resources.cpu, quota: Number(rounded) } };
}

/** `0-2,5` as bits, the first byte for 0 to 7. What the kernel would not take is left to it to refuse. */
export function rangeMask(list: string): Uint8Array {
  const bytes: number[] = [];
  for (const part of list.split(',')) {
    const [, first = '', last = first] = /^\s*(\d{1,5})(?:-(\d{1,5}))?\s*$/.exec(part) ?? [];
    if (first === '') continue;
    for (let bit = Number(first); bit <= Number(last); bit++) {
      while (bytes.length <= bit >> 3) bytes.push(0);
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) | (1 << (bit & 7));
    }
  }
  return Uint8Array.from(bytes);
}

const unifiedNames: Readonly<Record<string, string>> = {
  'cpu.weight': 'CPUWeight',
  'memory.high': 'MemoryHigh',
  'memory.low': 'MemoryLow',
  'memory.min': 'MemoryMin',
  'memory.max': 'MemoryMax',
  'memory.swap.max': 'MemorySwapMax',
  'pids.max': 'TasksMax',
};

function unifiedProperties(unified: Readonly<Record<string, string>>, { version }: Manager): Property[] {
  const properties: Property[] = [];
  for (const [file, value] of Object.entries(unified)) {
    const words = value.trim().split(/\s+/);
    const number = (word = ''): bigint | undefined =>
      word === 'max' ? INFINITY : /^\d{1,19}$/.test(word) ? BigInt(word) : undefined;
    const name = unifiedNames[file];
    const first = number(words[0]);
    if (name !== undefined && first !== undefined) properties.push(uint64(name, first));
    else if (file === 'cpu.max' && first !== undefined) {
      properties.push(
        ...quotaProperties(first === INFINITY ? -1n : first, number(words[1]) ?? DEFAULT_PERIOD_US, version),
      );
    } else if (version >= 244 && (file === 'cpuset.cpus' || file === 'cpuset.mems')) {
      const mask = { signature: 'ay', value: rangeMask(value) };
      properties.push([file === 'cpuset.cpus' ? 'AllowedCPUs' : 'AllowedMemoryNodes', mask]);
    }
  }
  return properties;
}

/** What the unit's processes may do with devices, so that systemd does not open again what we close when it is reloaded. */
export function deviceProperties(unsafeRules: readonly LinuxDeviceRule[]): Property[] {
  const { allowByDefault, rules } = devicePolicy(unsafeRules);
  const list = (value: readonly (readonly [string, string])[]): Property => [
    'DeviceAllow',
    { signature: 'a(ss)', value },
  ];
  if (allowByDefault) return [text('DevicePolicy', 'auto'), list([])];
  const allowed = rules.flatMap((rule) => {
    const path = rule.allow ? devicePath(rule) : undefined;
    return path === undefined ? [] : [[path, letters(rule.access)] as const];
  });
  // An empty list clears what was there.
  return [list([]), text('DevicePolicy', 'strict'), list(allowed)];
}

/** Undefined for what systemd cannot say: one minor number of every driver. The kernel's own rules have that. */
function devicePath({ type, major, minor }: DeviceRule): string | undefined {
  const kind = type === 'b' ? 'block' : 'char';
  if (major === undefined) return minor === undefined ? `${kind}-*` : undefined;
  return minor === undefined ? `${kind}-${major}` : `/dev/${kind}/${major}:${minor}`;
}

function letters(access: number): string {
  const read = (access & deviceAccess.read) === 0 ? '' : 'r';
  const write = (access & deviceAccess.write) === 0 ? '' : 'w';
  return `${read}${write}${(access & deviceAccess.mknod) === 0 ? '' : 'm'}`;
}
