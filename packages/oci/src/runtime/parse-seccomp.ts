/** The parser of `linux.seccomp`. */
import { exactUint64 } from '../parse/json.ts';
import { integer, list, nonEmptyText, object, oneOf, optional, text, withDefault } from '../parse/parser.ts';
import { seccompActions, seccompArchitectures, seccompFlags, seccompOperators } from './seccomp.ts';
import type { LinuxSeccomp, SeccompArg, SeccompSyscall } from './seccomp.ts';

/** The low 16 bits of the filter's answer carry it. */
const errnoReturn = integer(0, 0xffff);

const arg = object<SeccompArg>({
  index: integer(0, 5),
  value: withDefault(exactUint64, 0),
  valueTwo: optional(exactUint64),
  op: oneOf(seccompOperators),
});

const syscall = object<SeccompSyscall>({
  names: list(nonEmptyText),
  action: oneOf(seccompActions),
  errnoRet: optional(errnoReturn),
  args: optional(list(arg)),
});

/** `linux.seccomp` inside the configuration. */
export const linuxSeccomp = object<LinuxSeccomp>({
  defaultAction: oneOf(seccompActions),
  defaultErrnoRet: optional(errnoReturn),
  architectures: optional(list(oneOf(seccompArchitectures))),
  flags: optional(list(oneOf(seccompFlags))),
  listenerPath: optional(text),
  listenerMetadata: optional(text),
  syscalls: optional(list(syscall)),
});
