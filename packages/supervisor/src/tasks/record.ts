/**
 * What is kept of a task outside of the memory of supervisor and shim: the intent to have it, written before the first
 * side effect; that it was started, so that the next supervisor need not ask every shim before it can list them; and,
 * when its shim died, how it ended. Everything else is asked of the shim.
 *
 * One file a task, `STATE/tasks/<namespace>/<id>`: a task does not outlive the machine's run, and neither does the state
 * directory, so a record owes nothing to a power cut and costs no fsync. The files are written and removed on the event
 * loop: a handful of system calls on a file system in memory takes less than handing them to a thread.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { checkIdentifier } from '@gantry/api';
import { ioError, wrap } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import { encodeRecord, RecordReader } from '@gantry/store';
import { ownDirectory } from '../own-directory.ts';
import type { TaskName } from './bundle.ts';

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
  /** The pid of an init that was started and is not paused: it runs, unless its shim has noted its end. */
  readonly runningPid: number | undefined;
  /** Set when the shim is gone for good; the task is STOPPED until it is deleted. */
  readonly exit: TaskExit | undefined;
}

/** The record of a task, as it is found. */
export interface FoundRecord extends TaskName {
  readonly record: TaskRecord;
}

export class TaskRecords {
  readonly #dir: string;

  /** `state` is the supervisor's state directory. */
  constructor(state: string) {
    this.#dir = path.join(state, 'tasks');
  }

  /** Makes what records are made in. */
  prepare(): void {
    ownDirectory(this.#dir, 0o700);
  }

  /** Notes the intent to have a task. Throws resource exhausted when there is no room. */
  create(name: TaskName, record: TaskRecord): void {
    this.#guard(name, () => {
      const file = this.#fileOf(name);
      try {
        writeFileSync(file, encodeTask(record), { mode: 0o600 });
      } catch (err) {
        if (!isErrno(err, 'ENOENT')) throw err;
        mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
        writeFileSync(file, encodeTask(record), { mode: 0o600 });
      }
    });
  }

  /** Replaces the record of a task, by one or the other whenever we die. */
  replace(name: TaskName, record: TaskRecord): void {
    this.#guard(name, () => {
      const temporary = path.join(this.#dir, name.namespace, `.${name.id}`);
      writeFileSync(temporary, encodeTask(record), { mode: 0o600 });
      renameSync(temporary, this.#fileOf(name));
    });
  }

  /** Idempotent. */
  remove(name: TaskName): void {
    try {
      unlinkSync(this.#fileOf(name));
    } catch (err) {
      if (!isErrno(err, 'ENOENT')) throw wrap(err, `removing the record of task ${name.id}`);
    }
  }

  /**
   * Every task of every namespace. What is no record goes: a file whose writer died before it wrote came before all side
   * effects.
   */
  list(): FoundRecord[] {
    const found: FoundRecord[] = [];
    for (const namespace of readdirSync(this.#dir)) {
      for (const id of readdirSync(path.join(this.#dir, namespace))) {
        const name = { namespace, id };
        try {
          checkIdentifier('namespace', namespace);
          checkIdentifier('container', id);
          found.push({ ...name, record: decodeTask(name, readFileSync(this.#fileOf(name))) });
        } catch {
          this.remove(name);
        }
      }
    }
    return found;
  }

  #fileOf({ namespace, id }: TaskName): string {
    return path.join(this.#dir, namespace, id);
  }

  #guard(name: TaskName, write: () => void): void {
    try {
      write();
    } catch (err) {
      throw ioError(err, `writing the record of task ${name.id}`);
    }
  }
}

function encodeTask(record: TaskRecord): Uint8Array {
  const { exit } = record;
  return encodeRecord({
    runtime: record.runtime,
    createdAt: record.createdAtNs,
    stdin: record.stdin,
    stdout: record.stdout,
    stderr: record.stderr,
    terminal: record.terminal ? 'yes' : 'no',
    runningPid: record.runningPid === undefined ? undefined : BigInt(record.runningPid),
    exitPid: exit === undefined ? undefined : BigInt(exit.pid),
    exitStatus: exit === undefined ? undefined : BigInt(exit.status),
    exitedAt: exit?.atNs,
  });
}

/** Throws data loss when the bytes are no record. */
function decodeTask({ namespace, id }: TaskName, bytes: Uint8Array): TaskRecord {
  const reader = new RecordReader(`task ${namespace}/${id}`, bytes);
  const exitedAtNs = reader.optionalInteger('exitedAt');
  const runningPid = reader.optionalInteger('runningPid');
  return {
    runtime: reader.text('runtime'),
    createdAtNs: reader.integer('createdAt'),
    stdin: reader.text('stdin'),
    stdout: reader.text('stdout'),
    stderr: reader.text('stderr'),
    terminal: reader.text('terminal') === 'yes',
    runningPid: runningPid === undefined ? undefined : Number(runningPid),
    exit:
      exitedAtNs === undefined
        ? undefined
        : { pid: Number(reader.integer('exitPid')), status: Number(reader.integer('exitStatus')), atNs: exitedAtNs },
  };
}
