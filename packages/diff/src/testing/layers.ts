/** Making layers and looking at trees, for this room's tests. */
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Test } from 'tap';
import { tarEnd, tarHeader, tarPadding } from '@gantry/archive';
import type { NewEntry } from '@gantry/archive';
import type { ApplyRequest, DiffMount } from '../differ-types.ts';

export const layerType = 'application/vnd.oci.image.layer.v1.tar';

export type TestEntry = NewEntry & { readonly content?: string | Buffer };

export const sha256 = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** A tar of these entries, with its end mark. */
export function tarOf(entries: readonly TestEntry[]): Buffer {
  return Buffer.concat([...entries.map(tarEntry), tarEnd]);
}

function tarEntry({ content = '', ...entry }: TestEntry): Buffer {
  const bytes = Buffer.from(content);
  const size = BigInt(bytes.length);
  return Buffer.concat([tarHeader(bytes.length > 0 ? { ...entry, size } : entry), bytes, tarPadding(size)]);
}

export const file = (name: string | Buffer, content = '', more: Partial<NewEntry> = {}): TestEntry => ({
  ...more,
  type: 'file',
  name,
  content,
});
export const directory = (name: string, more: Partial<NewEntry> = {}): TestEntry => ({
  ...more,
  type: 'directory',
  name,
});
export const symlink = (name: string, linkName: string): TestEntry => ({ type: 'symlink', name, linkName });
export const hardlink = (name: string, linkName: string): TestEntry => ({ type: 'hardlink', name, linkName });

/** A scratch directory with a root to unpack into and things beside it that nobody may touch. */
export class Bench {
  readonly dir: string;
  readonly root: string;
  readonly canary: string;
  #blobs = 0;

  constructor(t: Test) {
    this.dir = mkdtempSync(path.join(tmpdir(), 'gantry-diff-test-'));
    t.teardown(() => rmSync(this.dir, { recursive: true, force: true }));
    this.root = this.sub('root');
    this.canary = this.sub('canary');
    writeFileSync(path.join(this.canary, 'file'), 'canary', { mode: 0o600 });
    mkdirSync(path.join(this.canary, 'empty'), { mode: 0o700 });
  }

  sub(name: string): string {
    const made = path.join(this.dir, name);
    mkdirSync(made, { recursive: true });
    return made;
  }

  /** What the machine's mount table has of this bench; others mount and unmount meanwhile. */
  hostMounts(): string[] {
    return readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(this.dir));
  }

  /** A request to apply these bytes (gzip'ed) to a bind of the root. */
  request(tar: Buffer, more: Partial<ApplyRequest> = {}): ApplyRequest {
    const blob = gzipSync(tar);
    return { ...this.requestFor(blob, `${layerType}+gzip`), ...more };
  }

  /** A request for a blob as it is. */
  requestFor(blob: Buffer, mediaType: string): ApplyRequest {
    const blobPath = path.join(this.dir, `blob-${++this.#blobs}`);
    writeFileSync(blobPath, blob);
    return { blobPath, mediaType, digest: sha256(blob), size: BigInt(blob.length), mounts: [bind(this.root)] };
  }

  /** Everything outside the root: it must be the same before and after. */
  outside(): string {
    return (
      listing(this.canary) +
      readdirSync(this.dir)
        .filter((name) => !name.startsWith('blob-'))
        .sort()
        .join(' ')
    );
  }
}

export function bind(source: string, access = 'rw'): DiffMount {
  return { type: 'bind', source, options: [access, 'rbind'] };
}

/** An overlay of these directories, the nearest lower first. */
export function overlay(upper: string, work: string, lowers: readonly string[]): DiffMount {
  const options = [`workdir=${work}`, `upperdir=${upper}`, `lowerdir=${lowers.join(':')}`];
  return { type: 'overlay', source: 'overlay', options };
}

/** One line a node: path, type, mode, owner, link count, size of files, times to the second, link target or content hash. */
export function listing(root: string): string {
  const lines: string[] = [];
  // Names as latin1: they need not be UTF-8.
  const names = (dir: Buffer): string[] => readdirSync(dir, { encoding: 'latin1' }).sort();
  const visit = (name: string): void => {
    const at = Buffer.from(path.join(root, name), 'latin1');
    const stat = lstatSync(at);
    const what = stat.isSymbolicLink()
      ? readlinkSync(at)
      : stat.isFile()
        ? sha256(readFileSync(at)).slice(7, 15)
        : stat.rdev;
    const { mode, uid, gid, nlink } = stat;
    lines.push(
      `${name} ${mode.toString(8)} ${uid}:${gid} ${stat.isDirectory() ? '' : nlink} ${Math.floor(stat.mtimeMs / 1000)} ${what}`,
    );
    if (stat.isDirectory()) for (const child of names(at)) visit(path.join(name, child));
  };
  for (const child of names(Buffer.from(root))) visit(child);
  return lines.join('\n');
}

/** Runs a shell script in the overlay, mounted in a namespace of its own; gives what it printed. */
export function insideOverlay(mount: DiffMount, target: string, script: string): string {
  const mounting = 'mount -t overlay -o "$2" overlay "$1" && cd "$1" && eval "$3"';
  const args = ['--mount', '--', 'sh', '-c', mounting, 'sh', target, mount.options.join(','), script];
  return execFileSync('unshare', args, { stdio: ['ignore', 'pipe', 'pipe'] }).toString('utf8');
}
