/** Attaching the device program to a v2 group, in place of an earlier one (bpf(2)). */
import { closeSync, openSync } from 'node:fs';
import { invalidArgument, wrap } from '@gantry/errors';
import { addressOf } from '@gantry/libc';
import type { LinuxDeviceRule } from '@gantry/oci';
import { devicePolicy } from './device-rules.ts';
import { deviceProgram } from './devices-bpf.ts';
import type { CgroupCalls } from './hierarchy.ts';

type BpfCalls = Pick<CgroupCalls, 'bpf' | 'close'>;

/** enum bpf_cmd. */
const command = { load: 5, attach: 8, detach: 9, fdById: 13, query: 16 } as const;
const programTypeCgroupDevice = 15;
const attachTypeCgroupDevice = 6;
/** BPF_F_ALLOW_MULTI: programs of groups above stay in force. */
const allowMulti = 2;

/** The kernel verifies at most this many instructions of one program (BPF_MAXINSNS before 5.2). */
const maximumInstructions = 1_000_000;

/** More programs than this are not ours. */
const maximumAttached = 64;

const field = 'linux.resources.devices';
const license = Buffer.from('Apache-2.0\0');

/** Replaces the group's device program by one for these rules. */
export function writeDevicesV2(sys: BpfCalls, directory: string, unsafeRules: readonly LinuxDeviceRule[]): void {
  const program = deviceProgram(devicePolicy(unsafeRules));
  if (program.length / 8 > maximumInstructions) throw invalidArgument(`${field}: too many rules`);
  const group = openSync(directory, 'r');
  try {
    const programFd = load(sys, program);
    try {
      const earlier = attachedPrograms(sys, group);
      attach(sys, group, programFd);
      for (const id of earlier) detach(sys, group, id);
    } finally {
      sys.close(programFd);
    }
  } catch (err) {
    throw wrap(err, field);
  } finally {
    closeSync(group);
  }
}

/** union bpf_attr: { u32 type, count; u64 instructions, license; u32 log_level, log_size; u64 log; u32 version, flags; char name[16] }. */
function load(sys: BpfCalls, program: Buffer): number {
  const attr = Buffer.alloc(64);
  attr.writeUInt32LE(programTypeCgroupDevice, 0);
  attr.writeUInt32LE(program.length / 8, 4);
  attr.writeBigUInt64LE(addressOf(program), 8);
  attr.writeBigUInt64LE(addressOf(license), 16);
  attr.write('gantry_devices', 48, 15, 'latin1');
  return sys.bpf(command.load, attr);
}

/** union bpf_attr: { u32 target_fd, attach_bpf_fd, attach_type, attach_flags }. */
function attach(sys: BpfCalls, group: number, programFd: number): void {
  const attr = Buffer.alloc(16);
  attr.writeUInt32LE(group, 0);
  attr.writeUInt32LE(programFd, 4);
  attr.writeUInt32LE(attachTypeCgroupDevice, 8);
  attr.writeUInt32LE(allowMulti, 12);
  sys.bpf(command.attach, attr);
}

/** Ids of the programs attached to the group itself. union bpf_attr: { u32 fd, type, query_flags, attach_flags; u64 ids; u32 count }. */
function attachedPrograms(sys: BpfCalls, group: number): number[] {
  const ids = Buffer.alloc(4 * maximumAttached);
  const attr = Buffer.alloc(32);
  attr.writeUInt32LE(group, 0);
  attr.writeUInt32LE(attachTypeCgroupDevice, 4);
  attr.writeBigUInt64LE(addressOf(ids), 16);
  attr.writeUInt32LE(maximumAttached, 24);
  sys.bpf(command.query, attr);
  return Array.from({ length: attr.readUInt32LE(24) }, (_, index) => ids.readUInt32LE(index * 4));
}

function detach(sys: BpfCalls, group: number, id: number): void {
  const lookup = Buffer.alloc(16);
  lookup.writeUInt32LE(id, 0);
  const programFd = sys.bpf(command.fdById, lookup);
  try {
    const attr = Buffer.alloc(16);
    attr.writeUInt32LE(group, 0);
    attr.writeUInt32LE(programFd, 4);
    attr.writeUInt32LE(attachTypeCgroupDevice, 8);
    sys.bpf(command.detach, attr);
  } finally {
    sys.close(programFd);
  }
}
