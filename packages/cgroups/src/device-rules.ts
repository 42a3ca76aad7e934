/**
 * Device rules: from the configuration's ordered list to what a container may do.
 *
 * The list starts from "deny everything"; a rule of type `a` for all kinds of access starts it anew; afterwards the
 * last rule that speaks of a device and a kind of access decides. The devices that every container has are allowed
 * after the configuration's own rules.
 */
import { invalidArgument } from '@gantry/errors';
import type { LinuxDeviceRule } from '@gantry/oci';

/** The kinds of access as the kernel's device programs number them (BPF_DEVCG_ACC_*). */
export const deviceAccess = { mknod: 1, read: 2, write: 4 } as const;

const everyAccess = deviceAccess.mknod | deviceAccess.read | deviceAccess.write;

/** One rule for devices of one type. */
export interface DeviceRule {
  readonly allow: boolean;
  readonly type: 'b' | 'c';
  /** Undefined: any. */
  readonly major: number | undefined;
  readonly minor: number | undefined;
  /** `deviceAccess` bits. */
  readonly access: number;
  /** Its place in the configuration, for errors; undefined for a default rule. */
  readonly index: number | undefined;
}

/** What is left of the list after its last reset. */
export interface DevicePolicy {
  /** What holds for a device that no rule speaks of. */
  readonly allowByDefault: boolean;
  readonly rules: readonly DeviceRule[];
}

function allowed(type: 'b' | 'c', major: number | undefined, minor: number | undefined, access: number): DeviceRule {
  return { allow: true, type, major, minor, access, index: undefined };
}

/** Making any node is harmless; using one is not. */
const defaultRules: readonly DeviceRule[] = [
  allowed('c', undefined, undefined, deviceAccess.mknod),
  allowed('b', undefined, undefined, deviceAccess.mknod),
  allowed('c', 1, 3, everyAccess), // null
  allowed('c', 1, 5, everyAccess), // zero
  allowed('c', 1, 7, everyAccess), // full
  allowed('c', 1, 8, everyAccess), // random
  allowed('c', 1, 9, everyAccess), // urandom
  allowed('c', 5, 0, everyAccess), // tty
  allowed('c', 5, 2, everyAccess), // ptmx
  allowed('c', 136, undefined, everyAccess), // pts
  allowed('c', 10, 200, everyAccess), // net/tun
];

function accessBits(letters: string | undefined, index: number): number {
  let bits = 0;
  for (const letter of letters ?? '') {
    bits |= letter === 'm' ? deviceAccess.mknod : letter === 'r' ? deviceAccess.read : deviceAccess.write;
  }
  // The words are runc's, which callers look for.
  if (bits === 0)
    throw invalidArgument(`linux.resources.devices[${index}]: device access at ${index} field cannot be empty`);
  return bits;
}

const orAny = (number: number | undefined): number | undefined => (number === -1 ? undefined : number);

/** Resolves the configuration's list. Throws invalid argument for a rule without access. */
export function devicePolicy(unsafeRules: readonly LinuxDeviceRule[]): DevicePolicy {
  let allowByDefault = false;
  let rules: DeviceRule[] = [];
  for (const [index, { allow, type = 'a', major, minor, access: letters }] of unsafeRules.entries()) {
    const access = accessBits(letters, index);
    if (type === 'a' && access === everyAccess) {
      allowByDefault = allow;
      rules = [];
      continue;
    }
    const numbers =
      type === 'a' ? { major: undefined, minor: undefined } : { major: orAny(major), minor: orAny(minor) };
    const types = type === 'a' ? (['b', 'c'] as const) : [type];
    for (const kind of types) rules.push({ allow, type: kind, ...numbers, access, index });
  }
  return { allowByDefault, rules: [...rules, ...defaultRules] };
}
