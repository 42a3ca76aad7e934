/** Device rules on v1: a behaviour (allow or deny everything) and a list of exceptions, kept by the kernel. */
import { invalidArgument } from '@gantry/errors';
import { AT_FDCWD, linux, O_WRONLY } from '@gantry/libc';
import type { LinuxDeviceRule } from '@gantry/oci';
import { deviceAccess, devicePolicy } from './device-rules.ts';
import type { DevicePolicy, DeviceRule } from './device-rules.ts';
import { limitError } from './group-file.ts';
import type { GroupFileCalls } from './group-file.ts';

const field = 'linux.resources.devices';

/** One exception and the kinds of access it is about. */
interface Exception {
  readonly rule: DeviceRule;
  access: number;
}

function covers(wide: DeviceRule, narrow: DeviceRule): boolean {
  return (
    wide.type === narrow.type &&
    (wide.major === undefined || wide.major === narrow.major) &&
    (wide.minor === undefined || wide.minor === narrow.minor)
  );
}

function overlaps(a: DeviceRule, b: DeviceRule): boolean {
  const same = (x: number | undefined, y: number | undefined) => x === undefined || y === undefined || x === y;
  return a.type === b.type && same(a.major, b.major) && same(a.minor, b.minor);
}

/**
 * The exceptions to the policy's default. Throws invalid argument for a rule that takes a part back from a wider one
 * (`allow c *:* r`, then `deny c 1:5 r`): the kernel's list has no order and cannot say that.
 */
export function deviceExceptions({ allowByDefault, rules }: DevicePolicy): readonly Exception[] {
  const exceptions = new Map<string, Exception>();
  for (const rule of rules) {
    if (rule.allow !== allowByDefault) {
      const key = `${rule.type} ${rule.major ?? '*'}:${rule.minor ?? '*'}`;
      const known = exceptions.get(key);
      if (known === undefined) exceptions.set(key, { rule, access: rule.access });
      else known.access |= rule.access;
      continue;
    }
    for (const [key, exception] of exceptions) {
      if (!overlaps(rule, exception.rule) || (exception.access & rule.access) === 0) continue;
      if (!covers(rule, exception.rule)) {
        throw invalidArgument(
          `${field}[${rule.index}]: cgroup v1 cannot take a part back from the wider rule for ${key}`,
        );
      }
      exception.access &= ~rule.access;
    }
  }
  return [...exceptions.values()].filter(({ access }) => access !== 0);
}

function letters(access: number): string {
  const read = (access & deviceAccess.read) === 0 ? '' : 'r';
  const write = (access & deviceAccess.write) === 0 ? '' : 'w';
  return `${read}${write}${(access & deviceAccess.mknod) === 0 ? '' : 'm'}`;
}

/** Replaces the group's rules. The group must have no groups below it when everything is to be allowed. */
export function writeDevicesV1(
  directory: string,
  unsafeRules: readonly LinuxDeviceRule[],
  sys: GroupFileCalls = linux,
): void {
  const policy = devicePolicy(unsafeRules);
  const exceptions = deviceExceptions(policy);
  const [reset, except] = policy.allowByDefault ? ['devices.allow', 'devices.deny'] : ['devices.deny', 'devices.allow'];
  writeLines(sys, directory, reset, [['a', field]]);
  writeLines(
    sys,
    directory,
    except,
    exceptions.map(({ rule: { type, major, minor, index }, access }) => [
      `${type} ${major ?? '*'}:${minor ?? '*'} ${letters(access)}`,
      index === undefined ? field : `${field}[${index}]`,
    ]),
  );
}

/** The kernel takes one rule a write. */
function writeLines(
  sys: GroupFileCalls,
  directory: string,
  file: string,
  lines: readonly (readonly [text: string, field: string])[],
): void {
  if (lines.length === 0) return;
  let fd: number;
  try {
    fd = sys.openat(AT_FDCWD, `${directory}/${file}`, O_WRONLY);
  } catch (err) {
    throw limitError(err, file, '', field);
  }
  try {
    for (const [text, name] of lines) {
      try {
        sys.write(fd, Buffer.from(text));
      } catch (err) {
        throw limitError(err, file, text, name);
      }
    }
  } finally {
    sys.close(fd);
  }
}
