/**
 * `bundle/exit.json`: how init ended. Written whole (temporary file, rename) before anybody is told, so that whoever reads
 * the bundle after the shim has died knows it too. Not for after a power cut: no bundle outlives the machine's run.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { timestampFromNs, timestampFromRfc3339, timestampToNs, timestampToRfc3339 } from '@gantry/api/shim';

export interface ExitRecord {
  readonly pid: number;
  readonly exitStatus: number;
  readonly exitedAtNs: bigint;
  /** The kernel killed something of the container for memory between start and exit. */
  readonly oomKilled: boolean;
}

const fileName = 'exit.json';

/** Throws Node's file system errors. */
export function writeExitRecord(bundle: string, record: ExitRecord): void {
  const text = JSON.stringify({
    pid: record.pid,
    exitStatus: record.exitStatus,
    exitedAt: timestampToRfc3339(timestampFromNs(record.exitedAtNs)),
    oomKilled: record.oomKilled,
  });
  const temporary = join(bundle, `.${fileName}.new`);
  writeFileSync(temporary, `${text}\n`, { mode: 0o600 });
  renameSync(temporary, join(bundle, fileName));
}

/** undefined when there is none, or when what is there is not a record. */
export function readExitRecord(bundle: string): ExitRecord | undefined {
  let text: string;
  try {
    text = readFileSync(join(bundle, fileName), 'utf8');
  } catch {
    return undefined;
  }
  return parseExitRecord(text);
}

/** The record in a JSON text; undefined when a field is missing or of the wrong kind. */
export function parseExitRecord(text: string): ExitRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { pid, exitStatus, exitedAt, oomKilled } = value as Record<string, unknown>;
  if (typeof pid !== 'number' || typeof exitStatus !== 'number' || typeof exitedAt !== 'string') return undefined;
  try {
    const exitedAtNs = timestampToNs(timestampFromRfc3339(exitedAt));
    return { pid, exitStatus, exitedAtNs, oomKilled: oomKilled === true };
  } catch {
    return undefined;
  }
}
