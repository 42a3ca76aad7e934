/** What the commands of the noun `snapshot` share. */
import type { types } from '@gantry/api';
import type { SnapshotsClient } from '@gantry/client';
import type { Context, FlagTable } from '../args/command.ts';

export const snapshotterFlag: FlagTable = {
  snapshotter: { type: 'string', value: 'NAME', help: 'default: GANTRY_SNAPSHOTTER, else overlayfs' },
};

/** The snapshotter that the command line names. */
export function storeOf(context: Context): SnapshotsClient {
  const { snapshots: store } = context.client();
  const name = context.parsed.strings.get('snapshotter');
  return name === undefined ? store : store.of(name);
}

/** For a shell. */
export function mountLines(mounts: readonly types.Mount[], target: string): string {
  return mounts
    .map(({ type, source, options }) => {
      const words = ['mount', '-t', type, source, target, ...(options.length > 0 ? ['-o', options.join(',')] : [])];
      return `${words.map(quoted).join(' ')}\n`;
    })
    .join('');
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
