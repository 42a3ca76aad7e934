/** The options of everything that makes a container. */
import type { Flag } from '../arguments.ts';

export const launchFlags: readonly Flag[] = [
  { name: 'bundle', aliases: ['b'], kind: 'text', help: 'the bundle directory (default: the working directory)' },
  { name: 'console-socket', kind: 'text', help: "unix socket that gets the terminal's master" },
  { name: 'pidfd-socket', kind: 'text', help: 'unix socket that gets a pidfd of the process' },
  { name: 'pid-file', kind: 'text', help: 'file that gets the pid of the process' },
  { name: 'no-pivot', kind: 'switch', help: 'chroot instead of pivot_root, for a root that is a ramdisk' },
  { name: 'no-new-keyring', kind: 'switch', help: "stay in the caller's session keyring" },
  {
    name: 'preserve-fds',
    kind: 'number',
    help: 'as many descriptors from 3 on (after LISTEN_FDS) go into the container',
  },
];
