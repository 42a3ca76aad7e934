import { lstatSync, mkdirSync, mkdtempSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { AT_FDCWD, linux, O_DIRECTORY, O_PATH } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import { makeDeviceLinks, makeDevices } from './devices.ts';

function rootWithDev(t: { teardown(done: () => void): void }): { dev: string; root: number } {
  const top = mkdtempSync(join(tmpdir(), 'gantry-devices-'));
  const dev = join(top, 'dev');
  mkdirSync(dev);
  const root = linux.openat(AT_FDCWD, top, O_PATH | O_DIRECTORY);
  t.teardown(() => {
    linux.close(root);
    rmSync(top, { recursive: true });
  });
  return { dev, root };
}

t.test('what an image has at /dev/ptmx is replaced, a right link stays as it is', (t) => {
  const { dev, root } = rootWithDev(t);
  for (const prepare of [
    () => writeFileSync(join(dev, 'ptmx'), ''),
    () => symlinkSync('/etc/passwd', join(dev, 'ptmx')),
    () => undefined,
  ]) {
    rmSync(join(dev, 'ptmx'), { force: true });
    prepare();
    makeDeviceLinks(linux, root);
    t.equal(readlinkSync(join(dev, 'ptmx')), 'pts/ptmx');
  }
  const { ino } = lstatSync(join(dev, 'ptmx'));
  makeDeviceLinks(linux, root);
  t.equal(lstatSync(join(dev, 'ptmx')).ino, ino);
  t.end();
});

t.test('another container that makes the same links at the same moment does no harm', (t) => {
  const { dev, root } = rootWithDev(t);
  writeFileSync(join(dev, 'ptmx'), '');
  const sys: Syscalls = {
    ...linux,
    // Between our removal of what was there and our own link, the other one's comes to be.
    unlinkat(dirfd, path, flags) {
      linux.unlinkat(dirfd, path, flags);
      symlinkSync('pts/ptmx', join(dev, 'ptmx'));
    },
  };
  makeDeviceLinks(sys, root);
  t.equal(readlinkSync(join(dev, 'ptmx')), 'pts/ptmx');
  t.end();
});

t.test('a directory that may not be used is the error, whatever was made before', (t) => {
  const { dev, root } = rootWithDev(t);
  symlinkSync('/etc', join(dev, 'sub'));
  const devices = ['/dev/fifo', '/dev/sub/fifo'].map((path) => ({ path, type: 'p', major: 0, minor: 0 }) as const);
  t.throws(() => makeDevices(linux, root, devices, false), /device|\/dev\/sub of the root file system is a symlink/);
  t.throws(() => makeDevices(linux, root, devices, false), { message: /^(?!.*EBADF)/ });
  t.end();
});
