/** Signal numbers by name (signal(7)); the same on x86-64 and arm64. */

/** `SIGHUP` … `SIGSYS` with their usual second names, and the real-time range `SIGRTMIN` (34) … `SIGRTMAX` (64). */
export const signals: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGIOT: 6,
  SIGBUS: 7,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGSTKFLT: 16,
  SIGCHLD: 17,
  SIGCLD: 17,
  SIGCONT: 18,
  SIGSTOP: 19,
  SIGTSTP: 20,
  SIGTTIN: 21,
  SIGTTOU: 22,
  SIGURG: 23,
  SIGXCPU: 24,
  SIGXFSZ: 25,
  SIGVTALRM: 26,
  SIGPROF: 27,
  SIGWINCH: 28,
  SIGIO: 29,
  SIGPOLL: 29,
  SIGPWR: 30,
  SIGSYS: 31,
  SIGUNUSED: 31,
  ...realTimeSignals(),
};

export const SIGHUP = 1;
export const SIGINT = 2;
export const SIGKILL = 9;
export const SIGPIPE = 13;
export const SIGTERM = 15;
export const SIGCHLD = 17;
export const SIGCONT = 18;
export const SIGSTOP = 19;
/** The kernel's highest signal number. */
export const SIGNAL_MAX = 64;

/** `SIGRTMIN`, `SIGRTMIN+1` … `SIGRTMAX-1`, `SIGRTMAX` in both spellings; glibc keeps 32 and 33 for itself. */
function realTimeSignals(): Record<string, number> {
  const first = 34;
  const last = 64;
  const table: Record<string, number> = { SIGRTMIN: first, SIGRTMAX: last };
  for (let number = first + 1; number < last; number++) {
    table[`SIGRTMIN+${number - first}`] = number;
    table[`SIGRTMAX-${last - number}`] = number;
  }
  return table;
}
