/** The parser of `linux.resources`. */
import { parseJson } from '../parse/json.ts';
import {
  bool,
  int64,
  integer,
  list,
  nonEmptyText,
  object,
  oneOf,
  optional,
  record,
  text,
  textRecord,
  uint16,
  uint32,
  uint64,
  where,
  withDefault,
} from '../parse/parser.ts';
import type { Parser } from '../parse/parser.ts';
import { runtimeDocumentLimits } from './limits.ts';
import { deviceRuleTypes } from './resources.ts';
import type {
  LinuxBlockIo,
  LinuxCpu,
  LinuxDeviceRule,
  LinuxHugepageLimit,
  LinuxInterfacePriority,
  LinuxMemory,
  LinuxNetwork,
  LinuxPids,
  LinuxRdma,
  LinuxResources,
  LinuxThrottleDevice,
  LinuxWeightDevice,
} from './resources.ts';

/** Device numbers: -1 is "any" in a rule. */
const deviceNumber = integer(-1, 2 ** 32 - 1);

const access = where(text, (letters) =>
  /^[rwm]*$/.test(letters) ? undefined : 'must consist of the letters r, w and m',
);

/** containerd's clients write an empty type for "all". */
const ruleType: Parser<(typeof deviceRuleTypes)[number] | undefined> = (value, path) =>
  value === '' ? undefined : optional(oneOf(deviceRuleTypes))(value, path);

/** A list of numbers and ranges (`0-3,7`), as cpuset files take it; empty means unset. */
export const numberList: Parser<string> = where(text, (value) =>
  /^[\d,\- \n]*$/.test(value) ? undefined : 'must be a list of numbers and ranges',
);

const deviceRule = object<LinuxDeviceRule>({
  allow: withDefault(bool, false),
  type: ruleType,
  major: optional(deviceNumber),
  minor: optional(deviceNumber),
  access: optional(access),
});

const memory = object<LinuxMemory>({
  limit: optional(int64),
  reservation: optional(int64),
  swap: optional(int64),
  kernel: optional(int64),
  kernelTCP: optional(int64),
  swappiness: optional(uint64),
  disableOOMKiller: optional(bool),
  useHierarchy: optional(bool),
  checkBeforeUpdate: optional(bool),
});

const cpu = object<LinuxCpu>({
  shares: optional(uint64),
  quota: optional(int64),
  burst: optional(uint64),
  period: optional(uint64),
  realtimeRuntime: optional(int64),
  realtimePeriod: optional(uint64),
  cpus: optional(numberList),
  mems: optional(numberList),
  idle: optional(int64),
});

const throttleDevices = list(object<LinuxThrottleDevice>({ major: uint32, minor: uint32, rate: uint64 }));

const blockIo = object<LinuxBlockIo>({
  weight: optional(uint16),
  leafWeight: optional(uint16),
  weightDevice: optional(
    list(
      object<LinuxWeightDevice>({
        major: uint32,
        minor: uint32,
        weight: optional(uint16),
        leafWeight: optional(uint16),
      }),
    ),
  ),
  throttleReadBpsDevice: optional(throttleDevices),
  throttleWriteBpsDevice: optional(throttleDevices),
  throttleReadIOPSDevice: optional(throttleDevices),
  throttleWriteIOPSDevice: optional(throttleDevices),
});

/** The page size is part of a file name. */
const pageSize = where(text, (size) => (/^[1-9]\d*[KMGT]?B$/.test(size) ? undefined : 'must be a size such as 2MB'));

const network = object<LinuxNetwork>({
  classID: optional(uint32),
  priorities: optional(list(object<LinuxInterfacePriority>({ name: interfaceName, priority: uint32 }))),
});

function interfaceName(value: unknown, path: string): string {
  return where(nonEmptyText, (name) => (/[\s/]/.test(name) ? 'must be an interface name' : undefined))(value, path);
}

const resources = object<LinuxResources>({
  devices: optional(list(deviceRule)),
  memory: optional(memory),
  cpu: optional(cpu),
  pids: optional(object<LinuxPids>({ limit: optional(int64) })),
  blockIO: optional(blockIo),
  hugepageLimits: optional(list(object<LinuxHugepageLimit>({ pageSize, limit: uint64 }))),
  network: optional(network),
  rdma: optional(record(object<LinuxRdma>({ hcaHandles: optional(uint32), hcaObjects: optional(uint32) }))),
  unified: optional(textRecord),
});

/** `linux.resources` inside a larger document. */
export const linuxResources: Parser<LinuxResources> = resources;

/** Parses a resources document on its own (an update's). Throws invalid argument naming the JSON path. */
export function parseLinuxResources(unsafeDocument: Uint8Array | string): LinuxResources {
  return resources(parseJson(unsafeDocument, 'linux resources', runtimeDocumentLimits), '');
}
