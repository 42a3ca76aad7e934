/** What `state` and `list` say of a container. */
import { readFileSync, statSync } from 'node:fs';
import { supportedOciVersion } from '@gantry/oci';
import type { Status, StoredContainer } from './stored-container.ts';

/** The specification's state with what runc adds. */
export interface Description {
  readonly ociVersion: string;
  readonly id: string;
  readonly pid: number;
  readonly status: Status;
  readonly bundle: string;
  readonly rootfs: string;
  readonly created: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly owner: string;
}

export function describe(stored: StoredContainer, owner = ''): Description {
  const { annotations } = stored.spec;
  const { status } = stored;
  return {
    ociVersion: supportedOciVersion,
    id: stored.id,
    pid: status === 'stopped' ? 0 : stored.pid,
    status,
    bundle: stored.record.bundle,
    rootfs: stored.record.rootfs,
    created: stored.record.created,
    ...(annotations === undefined || Object.keys(annotations).length === 0 ? {} : { annotations }),
    owner,
  };
}

/** The name of the user that a directory belongs to; `#1000` for one without a name. */
export function ownerOf(directory: string): string {
  const { uid } = statSync(directory);
  for (const line of readFileSync('/etc/passwd', 'utf8').split('\n')) {
    const [name, , id] = line.split(':');
    if (id === String(uid) && name !== undefined) return name;
  }
  return `#${uid}`;
}
