/** The directories that criu works in, as descriptors, and what it is told from the outside. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { invalidArgument, notFound, wrap } from '@gantry/errors';
import { AT_FDCWD, isErrno, O_DIRECTORY, O_RDONLY } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { Spec } from '@gantry/oci';
import type { Descriptors } from '../clean-up.ts';
import type { CriuOptions } from './messages.ts';
import type { CriuSettings } from './options.ts';

/** Settings of a host for containers of runc, and so for ours. criu does without a file that is not there. */
const hostConfiguration = '/etc/criu/runc.conf';

export interface CriuDirectories {
  readonly options: Pick<CriuOptions, 'imagesDirFd' | 'workDirFd'>;
  /** Which directories the descriptors are. */
  readonly paths: readonly { readonly fd: number; readonly path: string }[];
  /** Where criu writes its log of that name. */
  readonly logFile: string;
}

/** Opens both. The image directory is made when it is missing and `make` is set; otherwise not found. */
export function openDirectories(
  sys: Syscalls,
  { imagePath, workPath }: CriuSettings,
  log: string,
  descriptors: Descriptors,
  { make }: { readonly make: boolean },
): CriuDirectories {
  for (const path of [imagePath, workPath]) {
    if (path !== undefined && !path.startsWith('/')) throw invalidArgument(`"${path}" is not an absolute path`);
  }
  if (make) makeDirectory(imagePath);
  const imagesDirFd = descriptors.keep(openDirectory(sys, imagePath, 'image path'));
  const images = { fd: imagesDirFd, path: imagePath };
  if (workPath === undefined) return { options: { imagesDirFd }, paths: [images], logFile: join(imagePath, log) };
  makeDirectory(workPath);
  const workDirFd = descriptors.keep(openDirectory(sys, workPath, 'work path'));
  const paths = [images, { fd: workDirFd, path: workPath }];
  return { options: { imagesDirFd, workDirFd }, paths, logFile: join(workPath, log) };
}

function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (err) {
    throw wrap(err, `making ${path}`);
  }
}

function openDirectory(sys: Syscalls, path: string, what: string): number {
  try {
    return sys.openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
  } catch (err) {
    if (isErrno(err, 'ENOENT')) throw notFound(`${what} ${path}: no such directory`);
    throw wrap(err, `${what} ${path}`);
  }
}

/**
 * In a process that has entered another mount namespace: the descriptors become those of the same directories there,
 * under the same numbers. criu mounts things below its working directory.
 */
export function reopenDirectories(sys: Syscalls, { paths }: CriuDirectories): void {
  for (const { fd, path } of paths) {
    const again = sys.openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
    sys.dup2(again, fd);
    sys.close(again);
  }
}

/** The options that mean the same in both directions. */
export function commonOptions(settings: CriuSettings, spec: Spec): Omit<CriuOptions, 'imagesDirFd' | 'workDirFd'> {
  const { tcpEstablished, externalUnixSockets, shellJob, fileLocks, emptyNamespaces, autoDedup, lazyPages } = settings;
  const configFile = spec.annotations?.['org.criu.config'] ?? hostConfiguration;
  return {
    logLevel: 4,
    notifyScripts: true,
    shellJob: shellJob ?? false,
    tcpEstablished: tcpEstablished ?? false,
    extUnixSk: externalUnixSockets ?? false,
    fileLocks: fileLocks ?? false,
    emptyNs: emptyNamespaces ?? 0,
    autoDedup: autoDedup ?? false,
    lazyPages: lazyPages ?? false,
    orphanPtsMaster: true,
    manageCgroups: true,
    manageCgroupsMode: settings.cgroupsMode ?? 'soft',
    ...(configFile === '' ? {} : { configFile }),
  };
}
