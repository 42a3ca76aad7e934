/** What the command line must remember of a container beside the runtime's own state: `record.json`. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { dataLoss, wrap } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import { parseSpec } from '@gantry/oci';
import type { Spec } from '@gantry/oci';

export interface ContainerRecord {
  readonly id: string;
  /** Absolute path. */
  readonly bundle: string;
  /** Absolute path of the root file system on the host. */
  readonly rootfs: string;
  /** RFC 3339 with nanoseconds. */
  readonly created: string;
  readonly noNewKeyring: boolean;
}

const recordFile = 'record.json';
const configFile = 'config.json';

/** Writes the configuration first: who finds a record finds everything. */
export function writeRecord(directory: string, record: ContainerRecord, spec: Spec): void {
  writeConfig(directory, spec);
  writeWhole(join(directory, recordFile), JSON.stringify(record));
}

/** Undefined when the container was never completely made. Data loss for one that cannot be understood. */
export function readRecord(directory: string): ContainerRecord | undefined {
  const text = readIfPresent(join(directory, recordFile));
  if (text === undefined) return undefined;
  const unsafe = parseObject(text, recordFile);
  const { id, bundle, rootfs, created, noNewKeyring } = unsafe;
  const texts = [id, bundle, rootfs, created];
  if (!texts.every((value) => typeof value === 'string')) throw dataLoss(`${recordFile} lacks what it must have`);
  const [ownId = '', ownBundle = '', ownRootfs = '', ownCreated = ''] = texts;
  return {
    id: ownId,
    bundle: ownBundle,
    rootfs: ownRootfs,
    created: ownCreated,
    noNewKeyring: noNewKeyring === true,
  };
}

/** The configuration as it is now. */
export function readConfig(directory: string): Spec {
  const text = readIfPresent(join(directory, configFile));
  if (text === undefined) throw dataLoss(`${configFile} of the container is gone`);
  return parseSpec(text);
}

export function writeConfig(directory: string, spec: Spec): void {
  writeWhole(join(directory, configFile), JSON.stringify(spec));
}

function parseObject(text: string, name: string): Record<string, unknown> {
  let unsafe: unknown;
  try {
    unsafe = JSON.parse(text);
  } catch {
    throw dataLoss(`${name} is not JSON`);
  }
  if (typeof unsafe === 'object' && unsafe !== null) return unsafe as Record<string, unknown>;
  throw dataLoss(`${name} is not an object`);
}

function readIfPresent(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return undefined;
    throw wrap(err, `reading ${path}`);
  }
}

function writeWhole(path: string, text: string): void {
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** Now, as RFC 3339 with the nanoseconds that Node does not have. */
export function timestamp(): string {
  return new Date().toISOString().replace('Z', '000000Z');
}
