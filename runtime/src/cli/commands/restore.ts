/** `restore`: a container from what a checkpoint has saved, and staying with it unless it is to be left alone. */
import type { Command } from '../command.ts';
import { criuFlags, criuSettings } from '../criu-flags.ts';
import { deleteStored } from '../delete-stored.ts';
import { Foreground } from '../foreground.ts';
import { launchRestored } from '../launch.ts';
import { ContainerLock } from '../state-root.ts';
import { StoredContainer } from '../stored-container.ts';

export const restore: Command = {
  name: 'restore',
  usage: 'restore [options] ID',
  summary: 'make a container of a checkpoint',
  flags: [
    ...criuFlags,
    { name: 'bundle', aliases: ['b'], kind: 'text', help: 'the bundle directory (default: the working directory)' },
    { name: 'console-socket', kind: 'text', help: "unix socket that gets the terminal's master" },
    { name: 'detach', aliases: ['d'], kind: 'switch', help: 'return when the processes run' },
    { name: 'pid-file', kind: 'text', help: 'file that gets the pid of the process' },
    { name: 'no-subreaper', kind: 'switch', help: 'leave orphans of the container to others' },
    { name: 'no-pivot', kind: 'switch', help: 'accepted: criu has its own way into the root' },
    { name: 'lsm-profile', kind: 'text', help: 'TYPE:NAME of the profile to run under' },
    { name: 'lsm-mount-context', kind: 'text', help: 'SELinux context of the mounts' },
  ],
  words: [1, 1],
  async run(context, { given, rest: [id = ''] }) {
    const { root, options, report } = context;
    const detached = given.on('detach');
    const foreground = detached ? undefined : new Foreground({ subreaper: !given.on('no-subreaper') });
    const [lsmProfile, lsmMountContext] = [given.text('lsm-profile'), given.text('lsm-mount-context')];
    const { container, directory, terminal } = launchRestored(context, id, given, detached, {
      ...criuSettings(given, options.criu),
      ...(lsmProfile === '' ? {} : { lsmProfile }),
      ...(lsmMountContext === '' ? {} : { lsmMountContext }),
    });
    if (foreground === undefined) return 0;
    const status = await foreground.wait(container.pid, terminal);
    using _ = new ContainerLock(directory);
    deleteStored(root, StoredContainer.load(root, id), report);
    return status;
  },
};
