/** The parser of a process: part of the configuration, and an exec request's own document. */
import { parseJson } from '../parse/json.ts';
import {
  absolutePath,
  bool,
  distinct,
  int32,
  integer,
  list,
  object,
  oneOf,
  optional,
  refuse,
  text,
  textList,
  uint32,
  uint64,
  where,
  withDefault,
} from '../parse/parser.ts';
import type { Parser } from '../parse/parser.ts';
import { runtimeDocumentLimits } from './limits.ts';
import { numberList } from './parse-resources.ts';
import { ioPriorityClasses, rlimitTypes, schedulerFlags, schedulerPolicies } from './process.ts';
import type {
  ConsoleSize,
  CpuAffinity,
  IoPriority,
  IoPriorityClass,
  LinuxCapabilities,
  Process,
  Rlimit,
  Scheduler,
  User,
} from './process.ts';

/** (uid_t)-1 means "no change" to the kernel and is no id. */
const id = integer(0, 2 ** 32 - 2);

const user = object<User>({
  uid: withDefault(id, 0),
  gid: withDefault(id, 0),
  umask: optional(uint32),
  additionalGids: optional(list(id)),
  username: optional(text),
});

const noUser: User = { uid: 0, gid: 0 };

/** struct winsize has 16 bits each. */
const characters = integer(0, 2 ** 16 - 1);

const capabilities = object<LinuxCapabilities>({
  bounding: optional(textList),
  effective: optional(textList),
  inheritable: optional(textList),
  permitted: optional(textList),
  ambient: optional(textList),
});

const rlimit = where(object<Rlimit>({ type: oneOf(rlimitTypes), hard: uint64, soft: uint64 }), ({ hard, soft }) =>
  soft > hard ? 'soft must not be above hard' : undefined,
);

/** The words are runc's, which callers look for. */
const ioClass: Parser<IoPriorityClass> = (value, path) => {
  const name = text(value, path);
  const known = ioPriorityClasses.find((candidate) => candidate === name);
  if (known === undefined) throw refuse(path, `invalid ioPriority.Class: ${JSON.stringify(name)}`);
  return known;
};

const ioPriorityLevel = where(int32, (level) =>
  level < 0 || level > 7 ? `invalid ioPriority.Priority: ${level}` : undefined,
);

const scheduler = where(
  object<Scheduler>({
    policy: oneOf(schedulerPolicies),
    nice: optional(int32),
    priority: optional(int32),
    flags: optional(list(oneOf(schedulerFlags))),
    runtime: optional(uint64),
    deadline: optional(uint64),
    period: optional(uint64),
  }),
  checkScheduler,
);

function checkScheduler({ policy, nice = 0, priority = 0, runtime = 0, deadline = 0, period = 0 }: Scheduler) {
  const hasNice = policy === 'SCHED_OTHER' || policy === 'SCHED_BATCH';
  if (hasNice && (nice < -20 || nice > 19)) return `nice ${nice} is not between -20 and 19`;
  const hasPriority = policy === 'SCHED_FIFO' || policy === 'SCHED_RR';
  if (!hasPriority && priority !== 0) return `priority can only be given with SCHED_FIFO and SCHED_RR`;
  const hasTimes = runtime !== 0 || deadline !== 0 || period !== 0;
  if (policy !== 'SCHED_DEADLINE' && hasTimes) {
    return 'runtime, deadline and period can only be given with SCHED_DEADLINE';
  }
  return undefined;
}

const process = object<Process>({
  terminal: optional(bool),
  consoleSize: optional(object<ConsoleSize>({ height: withDefault(characters, 0), width: withDefault(characters, 0) })),
  user: withDefault(user, noUser),
  args: optional(textList),
  env: optional(textList),
  cwd: absolutePath,
  capabilities: optional(capabilities),
  rlimits: optional(distinct(rlimit, ({ type }) => type, 'type')),
  noNewPrivileges: optional(bool),
  apparmorProfile: optional(text),
  oomScoreAdj: optional(integer(-1000, 1000)),
  scheduler: optional(scheduler),
  selinuxLabel: optional(text),
  ioPriority: optional(object<IoPriority>({ class: ioClass, priority: withDefault(ioPriorityLevel, 0) })),
  execCPUAffinity: optional(object<CpuAffinity>({ initial: optional(numberList), final: optional(numberList) })),
});

/** `process` inside a larger document. */
export const linuxProcess: Parser<Process> = process;

/** Parses a process document on its own (an exec request's). Throws invalid argument naming the JSON path. */
export function parseProcess(unsafeDocument: Uint8Array | string): Process {
  return process(parseJson(unsafeDocument, 'process', runtimeDocumentLimits), '');
}
