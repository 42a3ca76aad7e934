/** `checkpoint`: saves a running container by criu. */
import { closeSync, readFileSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { failedPrecondition, invalidArgument, wrap } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import type { CheckpointRequest } from '../../criu/options.ts';
import { isUnprivileged } from '../../rootless.ts';
import type { Given } from '../arguments.ts';
import type { Command } from '../command.ts';
import { criuFlags, criuSettings } from '../criu-flags.ts';
import { deleteStored } from '../delete-stored.ts';
import { ContainerLock } from '../state-root.ts';
import { StoredContainer } from '../stored-container.ts';

export const checkpoint: Command = {
  name: 'checkpoint',
  usage: 'checkpoint [options] ID',
  summary: 'save a running container',
  flags: [
    ...criuFlags,
    { name: 'parent-path', kind: 'text', help: 'images of an earlier pre-dump, relative to the image path' },
    { name: 'leave-running', kind: 'switch', help: 'let the processes run on' },
    { name: 'tcp-skip-in-flight', kind: 'switch', help: 'leave out tcp connections that are being made' },
    { name: 'link-remap', kind: 'switch', help: 'allow open files that have been removed' },
    { name: 'status-fd', kind: 'text', help: 'descriptor that gets a \\0 when lazy pages can be fetched' },
    { name: 'page-server', kind: 'text', help: 'ADDRESS:PORT that gets the memory' },
    { name: 'pre-dump', kind: 'switch', help: 'save the memory only, for a checkpoint that is to follow' },
  ],
  words: [1, 1],
  run({ root, options, report }, { given, rest: [id = ''] }) {
    if (isUnprivileged()) report.warn('checkpoint is untested with rootless containers');
    using _ = new ContainerLock(root.existing(id));
    const stored = StoredContainer.load(root, id);
    const { status } = stored;
    if (status === 'created' || status === 'stopped') {
      throw failedPrecondition(`Container cannot be checkpointed in ${status} state`);
    }
    const request = checkpointRequest(given, options.criu);
    stored.open().checkpoint(request);
    if (request.leaveRunning !== true && request.preDump !== true) deleteStored(root, stored, report);
    return 0;
  },
};

function checkpointRequest(given: Given, criu: string): CheckpointRequest {
  const settings = criuSettings(given, criu);
  const parentPath = parentPathOf(given.text('parent-path'), settings.imagePath);
  const pageServer = pageServerOf(given.text('page-server'));
  const onReady = whenReady(given.text('status-fd'), given.on('lazy-pages'));
  return {
    ...settings,
    ...(parentPath === undefined ? {} : { parentPath }),
    ...(pageServer === undefined ? {} : { pageServer }),
    ...(onReady === undefined ? {} : { onReady }),
    leaveRunning: given.on('leave-running'),
    tcpSkipInFlight: given.on('tcp-skip-in-flight'),
    linkRemap: given.on('link-remap'),
    preDump: given.on('pre-dump'),
  };
}

function parentPathOf(path: string, imagePath: string): string | undefined {
  if (path === '') return undefined;
  if (path.startsWith('/')) throw invalidArgument('--parent-path must be relative');
  try {
    if (statSync(join(imagePath, path)).isDirectory()) return path;
  } catch (err) {
    throw wrap(err, 'invalid --parent-path', 'invalid argument');
  }
  throw invalidArgument(`invalid --parent-path: ${join(imagePath, path)}: not a directory`);
}

function pageServerOf(text: string): { readonly address: string; readonly port: number } | undefined {
  if (text === '') return undefined;
  const [, address = '', digits = ''] = /^([^:]*):(.*)$/s.exec(text) ?? [];
  if (address === '' || digits === '') throw invalidArgument('use --page-server ADDRESS:PORT to specify page server');
  const port = /^\d{1,5}$/.test(digits) ? Number(digits) : 0;
  if (port < 1 || port > 65_535) throw invalidArgument('invalid port number');
  return { address, port };
}

/** For the other end of a lazy migration: it may connect from then on. */
function whenReady(text: string, lazyPages: boolean): (() => void) | undefined {
  if (text === '' || text === '-1' || !lazyPages) return undefined;
  const fd = /^\d{1,6}$/.test(text) ? Number(text) : -1;
  if (!isWritable(fd)) throw invalidArgument(`invalid --status-fd argument ${text}: not open for writing`);
  let isOpen = true;
  return () => {
    if (!isOpen) return;
    isOpen = false;
    writeSync(fd, Buffer.of(0));
    closeSync(fd);
  };
}

function isWritable(fd: number): boolean {
  if (fd < 0) return false;
  try {
    const [, flags = '0'] = /^flags:\s*0*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1')) ?? [];
    return (Number.parseInt(flags, 8) & 3) !== 0;
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return false;
    throw err;
  }
}
