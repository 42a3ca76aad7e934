/** Capability sets: names into masks, and the order in which a process takes them on (capabilities(7)). */
import { readFileSync } from 'node:fs';
import { wrap } from '@gantry/errors';
import {
  capabilityNumbers,
  PR_CAP_AMBIENT,
  PR_CAP_AMBIENT_CLEAR_ALL,
  PR_CAP_AMBIENT_RAISE,
  PR_CAPBSET_DROP,
} from '@gantry/libc';
import type { ProcessCalls } from '@gantry/libc';
import type { LinuxCapabilities } from '@gantry/oci';

/** The five sets as bit masks. */
export interface CapabilityMasks {
  readonly bounding: bigint;
  readonly effective: bigint;
  readonly permitted: bigint;
  readonly inheritable: bigint;
  readonly ambient: bigint;
}

export const CAP_SYS_ADMIN_BIT = 1n << 21n;

let lastCapability: number | undefined;

/** The highest capability number of the running kernel. */
export function kernelLastCapability(): number {
  lastCapability ??= Number(readFileSync('/proc/sys/kernel/cap_last_cap', 'latin1'));
  return lastCapability;
}

/**
 * The sets of a process. Names that this kernel does not know are left out, as runc does; absent sets are empty, which
 * is what an unprivileged process has.
 */
export function capabilityMasks(sets: LinuxCapabilities | undefined, last = kernelLastCapability()): CapabilityMasks {
  const mask = (names: readonly string[] = []): bigint =>
    names.reduce((bits, name) => {
      const number = Object.hasOwn(capabilityNumbers, name) ? capabilityNumbers[name] : undefined;
      return number === undefined || number > last ? bits : bits | (1n << BigInt(number));
    }, 0n);
  return {
    bounding: mask(sets?.bounding),
    effective: mask(sets?.effective),
    permitted: mask(sets?.permitted),
    inheritable: mask(sets?.inheritable),
    ambient: mask(sets?.ambient),
  };
}

type Calls = Pick<ProcessCalls, 'prctl' | 'capset'>;

/** Drops what is not in the bounding set; to be done while CAP_SETPCAP is still there. */
export function dropBounding(sys: Calls, bounding: bigint, last: number): void {
  for (let number = 0; number <= last; number++) {
    if ((bounding & (1n << BigInt(number))) !== 0n) continue;
    try {
      sys.prctl(PR_CAPBSET_DROP, BigInt(number));
    } catch (err) {
      throw wrap(err, 'unable to apply bounding set');
    }
  }
}

/** Takes on the final sets. `extra` is kept in permitted and effective for one more step (see execute.ts). */
export function applySets(sys: Calls, masks: CapabilityMasks, extra = 0n): void {
  try {
    sys.capset({
      effective: masks.effective | extra,
      permitted: masks.permitted | extra,
      inheritable: masks.inheritable,
    });
  } catch (err) {
    throw wrap(err, 'unable to apply caps');
  }
}

/** Ambient capabilities need inheritable and permitted ones first. One that cannot be raised is left out, as in runc. */
export function applyAmbient(sys: Calls, { ambient, permitted, inheritable }: CapabilityMasks, last: number): void {
  sys.prctl(PR_CAP_AMBIENT, BigInt(PR_CAP_AMBIENT_CLEAR_ALL));
  for (let number = 0; number <= last; number++) {
    const bit = 1n << BigInt(number);
    if ((ambient & permitted & inheritable & bit) === 0n) continue;
    sys.prctl(PR_CAP_AMBIENT, BigInt(PR_CAP_AMBIENT_RAISE), BigInt(number));
  }
}
