/** Block I/O: weights (10 … 1000 in the configuration, 0 is unset) and throttles. */
import { existsSync } from 'node:fs';
import { invalidArgument } from '@gantry/errors';
import { toUint64 } from '@gantry/oci';
import type { LinuxBlockIo, LinuxThrottleDevice } from '@gantry/oci';
import { writeLimit } from './group-file.ts';

const field = (name: string): string => `linux.resources.blockIO.${name}`;

/** The member of the configuration, the v1 file and the key of v2's io.max. */
const throttles = [
  ['throttleReadBpsDevice', 'blkio.throttle.read_bps_device', 'rbps'],
  ['throttleWriteBpsDevice', 'blkio.throttle.write_bps_device', 'wbps'],
  ['throttleReadIOPSDevice', 'blkio.throttle.read_iops_device', 'riops'],
  ['throttleWriteIOPSDevice', 'blkio.throttle.write_iops_device', 'wiops'],
] as const;

function forEachThrottle(
  io: LinuxBlockIo,
  visit: (device: LinuxThrottleDevice, rate: bigint, throttle: (typeof throttles)[number], name: string) => void,
): void {
  for (const throttle of throttles) {
    for (const [index, device] of (io[throttle[0]] ?? []).entries()) {
      visit(device, toUint64(device.rate), throttle, field(`${throttle[0]}[${index}]`));
    }
  }
}

function checkWeight(weight: number, name: string): void {
  if (weight < 10 || weight > 1000) throw invalidArgument(`${name}: ${weight} is not between 10 and 1000`);
}

/** `blkio.bfq.*` is what the kernel has when BFQ is the only scheduler that knows weights. */
function weightFileV1(directory: string, plain: string, bfq: string): string {
  return !existsSync(`${directory}/${plain}`) && existsSync(`${directory}/${bfq}`) ? bfq : plain;
}

/** blkio.* of v1. */
export function writeBlkioV1(directory: string, io: LinuxBlockIo): void {
  if (io.weight !== undefined && io.weight !== 0) {
    checkWeight(io.weight, field('weight'));
    const file = weightFileV1(directory, 'blkio.weight', 'blkio.bfq.weight');
    writeLimit(directory, file, String(io.weight), field('weight'));
  }
  if (io.leafWeight !== undefined && io.leafWeight !== 0) {
    writeLimit(directory, 'blkio.leaf_weight', String(io.leafWeight), field('leafWeight'));
  }
  for (const [index, { major, minor, weight = 0, leafWeight = 0 }] of (io.weightDevice ?? []).entries()) {
    const name = field(`weightDevice[${index}]`);
    if (weight !== 0) {
      const file = weightFileV1(directory, 'blkio.weight_device', 'blkio.bfq.weight_device');
      writeLimit(directory, file, `${major}:${minor} ${weight}`, `${name}.weight`);
    }
    if (leafWeight !== 0) {
      writeLimit(directory, 'blkio.leaf_weight_device', `${major}:${minor} ${leafWeight}`, `${name}.leafWeight`);
    }
  }
  forEachThrottle(io, ({ major, minor }, rate, [, file], name) => {
    writeLimit(directory, file, `${major}:${minor} ${rate}`, name);
  });
}

/** v1 weight (10 … 1000) as v2 io.weight (1 … 10000). */
export function blkioToIoWeight(weight: number): number {
  return Math.floor(1 + ((weight - 10) * 9999) / 990);
}

/** io.* of v2. BFQ takes the weight as it is; leaf weights have no file. */
export function writeIoV2(directory: string, io: LinuxBlockIo): void {
  const hasWeights = (io.weight ?? 0) !== 0 || (io.weightDevice ?? []).length > 0;
  const bfq = hasWeights && existsSync(`${directory}/io.bfq.weight`);
  const file = bfq ? 'io.bfq.weight' : 'io.weight';
  const convert = (weight: number, name: string): number => {
    checkWeight(weight, name);
    return bfq ? weight : blkioToIoWeight(weight);
  };
  if (io.weight !== undefined && io.weight !== 0) {
    writeLimit(directory, file, String(convert(io.weight, field('weight'))), field('weight'));
  }
  for (const [index, { major, minor, weight = 0 }] of (io.weightDevice ?? []).entries()) {
    const name = field(`weightDevice[${index}].weight`);
    if (weight !== 0) writeLimit(directory, file, `${major}:${minor} ${convert(weight, name)}`, name);
  }
  forEachThrottle(io, ({ major, minor }, rate, [, , key], name) => {
    writeLimit(directory, 'io.max', `${major}:${minor} ${key}=${rate === 0n ? 'max' : rate}`, name);
  });
}
