/** What is asked of a checkpoint and of a restore: the options of runc's commands, under names of ours. */
import type { CgroupsMode } from './messages.ts';

/** What both have. */
export interface CriuSettings {
  /** criu itself: a path, or a name to be found on PATH; absent: `criu`. */
  readonly criu?: string;
  /** Absolute path of the directory with criu's images. */
  readonly imagePath: string;
  /** Absolute path of the directory for criu's log and temporary files; absent: the images'. Made when it is missing. */
  readonly workPath?: string;
  readonly tcpEstablished?: boolean;
  readonly externalUnixSockets?: boolean;
  /** The container's terminal is the caller's. */
  readonly shellJob?: boolean;
  readonly fileLocks?: boolean;
  readonly cgroupsMode?: CgroupsMode;
  /** CLONE_NEW* bits of namespaces whose content is neither saved nor restored. */
  readonly emptyNamespaces?: number;
  readonly autoDedup?: boolean;
  readonly lazyPages?: boolean;
  readonly timeoutMs: number;
}

export interface CheckpointRequest extends CriuSettings {
  /** Of an earlier pre-dump, relative to `imagePath`. */
  readonly parentPath?: string;
  /** Otherwise the container's processes are killed when everything is saved. */
  readonly leaveRunning?: boolean;
  /** Memory only, and the container runs on: for the next checkpoint, which names this one as its parent. */
  readonly preDump?: boolean;
  readonly tcpSkipInFlight?: boolean;
  readonly linkRemap?: boolean;
  readonly pageServer?: { readonly address: string; readonly port: number };
  /** Called when pages can be asked for (`lazyPages`). */
  readonly onReady?: () => void;
}

export interface RestoreSettings extends CriuSettings {
  /** TYPE:NAME, in the place of the saved one. */
  readonly lsmProfile?: string;
  readonly lsmMountContext?: string;
}

/** Names in the image directory. */
export const descriptorsFile = 'descriptors.json';
export const dumpLog = 'dump.log';
export const restoreLog = 'restore.log';
