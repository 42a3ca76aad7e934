/** Looking at what mounts describe: in a mount namespace of a child process, so that the host sees nothing of it. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Mount } from '../snapshot.ts';

/** `$1`… are triples of type, source and options; the script runs in the mounted tree. */
const mountAll = `
set -e
script=$1 target=$2; shift 2
while [ $# -gt 0 ]; do mount -t "$1" -o "$3" "$2" "$target"; shift 3; done
cd "$target"
eval "$script"
`;

/** Mounts, runs a shell script in the tree and gives what it printed. Throws when it fails. */
export function insideMounts(mounts: readonly Mount[], script: string): string {
  const target = mkdtempSync(path.join(tmpdir(), 'gantry-mounted-'));
  try {
    const triples = mounts.flatMap(({ type, source, options }) => [type, source, options.join(',')]);
    const args = ['--mount', '--', 'sh', '-c', mountAll, 'sh', script, target, ...triples];
    return execFileSync('unshare', args, { stdio: ['ignore', 'pipe', 'pipe'] }).toString('utf8');
  } finally {
    rmdirSync(target);
  }
}

/** Unmounts what a snapshotter has mounted below a directory. */
export function unmountBelow(root: string): void {
  const places = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '');
  for (const place of places) if (place.startsWith(`${root}/`)) execFileSync('umount', [place]);
}
