/**
 * What the store keeps of a task: the intent to have it, written before the first side effect, and, when its shim died,
 * how it ended. Everything else is asked of the shim.
 */
import { encodeRecord, keys, RecordReader } from '@gantry/store';
import type { Reader } from '@gantry/store';

/** How a task ended that no shim can tell about any more. */
export interface TaskExit {
  readonly pid: number;
  /** 0–255; 128 + signal. */
  readonly status: number;
  readonly atNs: bigint;
}

export interface TaskRecord {
  readonly runtime: string;
  readonly createdAtNs: bigint;
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
  /** Set when the shim is gone for good; the task is STOPPED until it is deleted. */
  readonly exit: TaskExit | undefined;
}

export function encodeTask(record: TaskRecord): Uint8Array {
  const { exit } = record;
  return encodeRecord({
    runtime: record.runtime,
    createdAt: record.createdAtNs,
    stdin: record.stdin,
    stdout: record.stdout,
    stderr: record.stderr,
    terminal: record.terminal ? 'yes' : 'no',
    exitPid: exit === undefined ? undefined : BigInt(exit.pid),
    exitStatus: exit === undefined ? undefined : BigInt(exit.status),
    exitedAt: exit?.atNs,
  });
}

/** Throws data loss when the bytes are no record. */
export function decodeTask(namespace: string, id: string, bytes: Uint8Array): TaskRecord {
  const reader = new RecordReader(`task ${namespace}/${id}`, bytes);
  const exitedAtNs = reader.optionalInteger('exitedAt');
  return {
    runtime: reader.text('runtime'),
    createdAtNs: reader.integer('createdAt'),
    stdin: reader.text('stdin'),
    stdout: reader.text('stdout'),
    stderr: reader.text('stderr'),
    terminal: reader.text('terminal') === 'yes',
    exit:
      exitedAtNs === undefined
        ? undefined
        : { pid: Number(reader.integer('exitPid')), status: Number(reader.integer('exitStatus')), atNs: exitedAtNs },
  };
}

/** Every task of every namespace. */
export function* allTasks(reader: Reader): Generator<{ namespace: string; id: string; record: TaskRecord }> {
  for (const { key, value } of reader.scan(keys.tasks())) {
    const [, namespace = '', id = ''] = key;
    yield { namespace, id, record: decodeTask(namespace, id, value) };
  }
}
