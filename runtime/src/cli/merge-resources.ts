/** The limits of a container after an update. */
import type { LinuxResources } from '@gantry/oci';

/** What the update names replaces what was there, value by value; 0 and the empty text mean "unchanged". */
export function mergeResources(before: LinuxResources, changes: LinuxResources): LinuxResources {
  const merged: Record<string, unknown> = { ...before };
  for (const [name, value] of Object.entries(changes)) {
    // An update does not touch device rules.
    if (name === 'devices' || value === undefined) continue;
    merged[name] = isRecord(value) ? { ...recordAt(before, name), ...withoutUnset(value) } : value;
  }
  return merged as LinuxResources;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function recordAt(resources: LinuxResources, name: string): Record<string, unknown> {
  const value: unknown = Object.entries(resources).find(([key]) => key === name)?.[1];
  return isRecord(value) ? value : {};
}

function withoutUnset(value: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined && one !== 0 && one !== ''));
}
