/** Pseudo terminals and terminal settings (pty(7), ioctl_tty(2), termios(3)). */
import { AT_FDCWD, O_CLOEXEC, O_NOCTTY, O_RDWR } from '../constants/open.ts';
import { check, cString, declare, errno, failure, interrupted } from '../native.ts';
import type { ChannelCalls } from '../syscalls.ts';
import { closeQuietly } from './close-quietly.ts';

const c = declare('glibc', {
  openat: 'int openat(int dirfd, const char *path, int flags, uint mode)',
  // int ioctl(int fd, unsigned long request, …) with a pointer to memory of ours
  ioctl: 'int ioctl(int fd, ulong request, void *arg)',
  // the same with a number
  ioctlNumber: 'int ioctl(int fd, ulong request, ulong arg)',
});

const TCGETS = 0x5401;
const TCSETS = 0x5402;
const TIOCSCTTY = 0x540e;
const TIOCGWINSZ = 0x5413;
const TIOCSWINSZ = 0x5414;
const TIOCGPTN = 0x80045430;
const TIOCSPTLCK = 0x40045431;
const TIOCGPTPEER = 0x5441;

/** The kernel's struct termios: four words of flags, the line discipline, 19 control characters. */
const TERMIOS_BYTES = 36;
const INPUT_FLAGS = 0;
const OUTPUT_FLAGS = 4;
const CONTROL_FLAGS = 8;
const LOCAL_FLAGS = 12;
const CONTROL_CHARACTERS = 17;
const VTIME = 5;
const VMIN = 6;

// What cfmakeraw(3) clears and sets.
const RAW_INPUT_CLEAR = 0o1 | 0o2 | 0o10 | 0o40 | 0o100 | 0o200 | 0o400 | 0o2000; // IGNBRK BRKINT PARMRK ISTRIP INLCR IGNCR ICRNL IXON
const RAW_OUTPUT_CLEAR = 0o1; // OPOST
const RAW_CONTROL_CLEAR = 0o60 | 0o400; // CSIZE PARENB
const RAW_CONTROL_SET = 0o60; // CS8
const RAW_LOCAL_CLEAR = 0o1 | 0o2 | 0o10 | 0o100 | 0o100000; // ISIG ICANON ECHO ECHONL IEXTEN

function ioctl(fd: number, request: number, arg: Buffer): void {
  let result: number;
  do result = c.ioctl(fd, request, arg);
  while (interrupted(result));
  check(result, 'ioctl', fd);
}

function change(state: Buffer, offset: number, clear: number, set: number): void {
  state.writeUInt32LE(((state.readUInt32LE(offset) & ~clear) | set) >>> 0, offset);
}

type Calls = Pick<
  ChannelCalls,
  | 'openPty'
  | 'setTerminalSize'
  | 'getTerminalSize'
  | 'setControllingTerminal'
  | 'isTerminal'
  | 'makeRaw'
  | 'restoreTerminal'
>;

export const terminalCalls: Calls = {
  openPty(ptmxPath = '/dev/ptmx') {
    const flags = O_RDWR | O_NOCTTY | O_CLOEXEC;
    const path = cString(ptmxPath, 'openat');
    let master: number;
    do master = c.openat(AT_FDCWD, path, flags, 0);
    while (interrupted(master));
    check(master, 'openat', ptmxPath);
    try {
      const word = Buffer.alloc(4);
      ioctl(master, TIOCSPTLCK, word);
      ioctl(master, TIOCGPTN, word);
      // The slave of this very master: no path is looked up, so that no mount namespace can interpose another device.
      const slave = c.ioctlNumber(master, TIOCGPTPEER, flags);
      if (slave < 0) throw failure('ioctl', errno(), `${ptmxPath} TIOCGPTPEER`);
      return { master, slave, number: word.readUInt32LE() };
    } catch (err) {
      closeQuietly(master);
      throw err;
    }
  },

  setTerminalSize(fd, { columns, rows }) {
    const size = Buffer.alloc(8);
    size.writeUInt16LE(rows & 0xffff, 0);
    size.writeUInt16LE(columns & 0xffff, 2);
    ioctl(fd, TIOCSWINSZ, size);
  },

  getTerminalSize(fd) {
    const size = Buffer.alloc(8);
    ioctl(fd, TIOCGWINSZ, size);
    return { rows: size.readUInt16LE(0), columns: size.readUInt16LE(2) };
  },

  setControllingTerminal(fd) {
    check(c.ioctlNumber(fd, TIOCSCTTY, 0), 'ioctl', fd);
  },

  isTerminal: (fd) => c.ioctl(fd, TCGETS, Buffer.alloc(64)) === 0,

  makeRaw(fd) {
    const state = Buffer.alloc(64);
    ioctl(fd, TCGETS, state);
    const earlier = Buffer.from(state.subarray(0, TERMIOS_BYTES));
    change(state, INPUT_FLAGS, RAW_INPUT_CLEAR, 0);
    change(state, OUTPUT_FLAGS, RAW_OUTPUT_CLEAR, 0);
    change(state, CONTROL_FLAGS, RAW_CONTROL_CLEAR, RAW_CONTROL_SET);
    change(state, LOCAL_FLAGS, RAW_LOCAL_CLEAR, 0);
    state[CONTROL_CHARACTERS + VMIN] = 1;
    state[CONTROL_CHARACTERS + VTIME] = 0;
    ioctl(fd, TCSETS, state);
    return earlier;
  },

  restoreTerminal(fd, earlier) {
    const state = Buffer.alloc(64);
    earlier.copy(state);
    ioctl(fd, TCSETS, state);
  },
};
