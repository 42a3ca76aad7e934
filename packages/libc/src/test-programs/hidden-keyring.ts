/**
 * A caller with a secret, for tests: `node hidden-keyring.js NAME COMMAND WORD…` joins a session keyring NAME that only who
 * possesses it may see, and runs the command in it.
 */
import { spawnSync } from 'node:child_process';
import { linux } from '../linux.ts';
import { declare } from '../native.ts';
import { NR } from '../syscall-numbers.ts';

const c = declare('glibc', { keyctl: 'long syscall(long nr, int operation, int key, uint permissions)' });

const KEYCTL_SETPERM = 5;
const KEY_SPEC_SESSION_KEYRING = -3;
const ALL_OF_THE_POSSESSOR = 0x3f_00_00_00;

const [, , name = '', command = '', ...words] = process.argv;
linux.joinSessionKeyring(name);
c.keyctl(NR.keyctl, KEYCTL_SETPERM, KEY_SPEC_SESSION_KEYRING, ALL_OF_THE_POSSESSOR);
process.exitCode = spawnSync(command, words, { stdio: 'inherit' }).status ?? 128;
