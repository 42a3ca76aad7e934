/** `containerd.runc.v1.CheckpointOptions`: how a checkpoint is to be made. */
import { runcOptions, unpackAny } from '@gantry/api/shim';
import type { wellKnown } from '@gantry/api/shim';
import { invalidArgument } from '@gantry/errors';
import { CLONE_NEWNET } from '@gantry/libc';
import type { CheckpointRequest } from '@gantry/runtime';

/** What the task adds: where it is made. */
export type CheckpointOptions = Omit<CheckpointRequest, 'imagePath' | 'timeoutMs'>;

const cgroupsModes = ['soft', 'full', 'strict', 'ignore'] as const;

/** `options` may be absent: the container runs on then. Throws invalid argument, naming the field. */
export function parseCheckpointOptions(options: wellKnown.Any | undefined): CheckpointOptions {
  if (options === undefined || options.typeUrl === '') return { leaveRunning: true };
  const typeName = options.typeUrl.slice(options.typeUrl.lastIndexOf('/') + 1);
  if (typeName !== runcOptions.CheckpointOptions.typeName) {
    throw invalidArgument(`checkpoint options of type ${options.typeUrl}`);
  }
  const given = unpackAny(runcOptions.CheckpointOptions, options);
  const unknown = given.emptyNamespaces.find((name) => name !== 'network');
  if (unknown !== undefined) throw invalidArgument(`checkpoint option empty_namespaces: "${unknown}" is not supported`);
  const cgroupsMode = cgroupsModes.find((mode) => mode === given.cgroupsMode);
  if (cgroupsMode === undefined && given.cgroupsMode !== '') {
    throw invalidArgument(`checkpoint option cgroups_mode: "${given.cgroupsMode}"`);
  }
  for (const path of [given.workPath, given.imagePath]) {
    if (path !== '' && !path.startsWith('/')) throw invalidArgument(`checkpoint path "${path}": not an absolute path`);
  }
  return {
    leaveRunning: !given.exit,
    tcpEstablished: given.openTcp,
    externalUnixSockets: given.externalUnixSockets,
    shellJob: given.terminal,
    fileLocks: given.fileLocks,
    emptyNamespaces: given.emptyNamespaces.length > 0 ? CLONE_NEWNET : 0,
    ...(cgroupsMode === undefined ? {} : { cgroupsMode }),
    ...(given.workPath === '' ? {} : { workPath: given.workPath }),
    ...(given.parentPath === '' ? {} : { parentPath: given.parentPath }),
  };
}
