/** Tasks.Checkpoint, and what Tasks.Create has to do with a checkpoint. */
import { isAny, runcOptions, unpackAny, wellKnown } from '@gantry/api';
import type { tasks, types } from '@gantry/api';
import { failpoint, invalidArgument, unknown } from '@gantry/errors';
import type { ShimCallOptions } from '../shims/connection.ts';
import type { TaskName } from './bundle.ts';
import { checkpointMediaType } from './checkpoints.ts';
import type { Checkpoints, StoredContent } from './checkpoints.ts';
import type { Task } from './task.ts';

/** Where a task is restored from. */
export interface CheckpointSource {
  /** Tells one from another. */
  readonly name: string;
  /** The directory; made when it is asked for. */
  open(): Promise<string>;
}

/**
 * What a Create restores from: a directory of the host that the options name, or an archive. Undefined for an ordinary
 * task. Throws unknown for a descriptor of another type.
 */
export function checkpointSource(
  checkpoints: Checkpoints,
  task: TaskName,
  descriptor: types.Descriptor | undefined,
  options: wellKnown.Any | undefined,
): CheckpointSource | undefined {
  const directory = optionPath(runcOptions.Options, options, ({ criuImagePath }) => criuImagePath);
  if (directory !== '') return { name: directory, open: async () => directory };
  if (descriptor === undefined) return undefined;
  const { digest, mediaType } = descriptor;
  if (mediaType !== checkpointMediaType) throw unknown(`unsupported checkpoint type "${mediaType}"`);
  return { name: digest, open: () => checkpoints.unpack(task, digest) };
}

export interface CheckpointParts {
  readonly checkpoints: Checkpoints;
  /** The container's specification, as the client gave it. */
  readonly spec: wellKnown.Any | undefined;
  readonly options: wellKnown.Any | undefined;
  readonly lease: string | undefined;
  readonly limits: ShimCallOptions;
}

/**
 * Has the shim save the task: to the directory that the options name, and nothing is answered then; otherwise into the
 * content store, as an archive and the container's specification.
 */
export async function checkpointTask(
  task: Task,
  { checkpoints, lease, limits, options, spec }: CheckpointParts,
): Promise<{ descriptors: tasks.CheckpointTaskResponse['descriptors'] }> {
  const { id, namespace } = task;
  const save = async (path: string): Promise<void> => {
    await task.shim().call('checkpoint', { id, path, options }, limits);
  };
  const given = optionPath(runcOptions.CheckpointOptions, options, ({ imagePath }) => imagePath);
  if (given !== '') {
    await save(given);
    return { descriptors: [] };
  }
  const directory = await checkpoints.makeDirectory(task);
  try {
    await failpoint('checkpoint.after-directory');
    await save(directory);
    await failpoint('checkpoint.after-shim');
    const saved = await checkpoints.store(namespace, directory, lease);
    await failpoint('checkpoint.after-images');
    const bytes = wellKnown.Any.encode(spec ?? wellKnown.Any.create({}));
    const config = await checkpoints.storeConfig(namespace, bytes, directory, lease);
    await failpoint('checkpoint.after-config');
    return { descriptors: [saved, config].map((stored) => descriptorOf(stored)) };
  } finally {
    await checkpoints.removeDirectory(directory);
  }
}

function descriptorOf({ digest, mediaType, size }: StoredContent): types.Descriptor {
  return { digest, mediaType, size, annotations: {} };
}

/** A path in options of a certain type; empty when there are none. Invalid argument for one that is not absolute. */
function optionPath<T>(
  type: Parameters<typeof unpackAny<T>>[0],
  options: wellKnown.Any | undefined,
  pathIn: (options: T) => string,
): string {
  if (options === undefined || !isAny(type, options)) return '';
  const path = pathIn(unpackAny(type, options));
  if (path !== '' && !path.startsWith('/')) throw invalidArgument(`"${path}": not an absolute path`);
  return path;
}
