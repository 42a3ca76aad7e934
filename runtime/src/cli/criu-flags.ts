/** The options that `checkpoint` and `restore` share, and what they mean. Paths count from where the command was called. */
import { join, resolve } from 'node:path';
import { invalidArgument } from '@gantry/errors';
import { CLONE_NEWNET } from '@gantry/libc';
import type { CgroupsMode } from '../criu/messages.ts';
import type { CriuSettings } from '../criu/options.ts';
import type { Flag, Given } from './arguments.ts';

/** criu takes as long as memory and disk need; a call that hangs ends after this all the same. */
const CRIU_TIMEOUT_MS = 3_600_000;

export const criuFlags: readonly Flag[] = [
  { name: 'image-path', kind: 'text', help: 'directory of the images (default: ./checkpoint)' },
  { name: 'work-path', kind: 'text', help: "directory of criu's log and temporary files" },
  { name: 'tcp-established', kind: 'switch', help: 'allow open tcp connections' },
  { name: 'ext-unix-sk', kind: 'switch', help: 'allow unix sockets connected to processes outside' },
  { name: 'shell-job', kind: 'switch', help: "allow a session and a terminal of the caller's" },
  { name: 'lazy-pages', kind: 'switch', help: 'memory is fetched when it is used (userfaultfd)' },
  { name: 'file-locks', kind: 'switch', help: 'allow file locks' },
  { name: 'manage-cgroups-mode', kind: 'text', help: 'soft (default), full, strict or ignore' },
  { name: 'empty-ns', kind: 'list', help: 'namespace whose content is left out: network' },
  { name: 'auto-dedup', kind: 'switch', help: 'punch out of parent images what newer ones have' },
];

const cgroupsModes: readonly CgroupsMode[] = ['soft', 'full', 'strict', 'ignore'];

/** Throws invalid argument, naming the option. */
export function criuSettings(given: Given, criu: string): CriuSettings {
  const imagePath = given.text('image-path');
  const workPath = given.text('work-path');
  return {
    ...(criu === '' ? {} : { criu }),
    imagePath: imagePath === '' ? join(process.cwd(), 'checkpoint') : resolve(imagePath),
    ...(workPath === '' ? {} : { workPath: resolve(workPath) }),
    tcpEstablished: given.on('tcp-established'),
    externalUnixSockets: given.on('ext-unix-sk'),
    shellJob: given.on('shell-job'),
    lazyPages: given.on('lazy-pages'),
    fileLocks: given.on('file-locks'),
    cgroupsMode: cgroupsModeOf(given.text('manage-cgroups-mode')),
    emptyNamespaces: emptyNamespaces(given.list('empty-ns')),
    autoDedup: given.on('auto-dedup'),
    timeoutMs: CRIU_TIMEOUT_MS,
  };
}

function cgroupsModeOf(word: string): CgroupsMode {
  if (word === '') return 'soft';
  const mode = cgroupsModes.find((known) => known === word);
  if (mode === undefined) throw invalidArgument(`invalid manage-cgroups-mode ${JSON.stringify(word)}`);
  return mode;
}

function emptyNamespaces(names: readonly string[]): number {
  const unknown = names.find((name) => name !== 'network');
  if (unknown !== undefined) throw invalidArgument(`namespace ${JSON.stringify(unknown)} is not supported`);
  return names.length > 0 ? CLONE_NEWNET : 0;
}
