/** The process of an `exec`: a process.json, or the container's own process with what the flags change. */
import { readFileSync } from 'node:fs';
import { invalidArgument, wrap } from '@gantry/errors';
import { parseProcess } from '@gantry/oci';
import type { LinuxCapabilities, Process, Spec, User } from '@gantry/oci';
import type { Given } from './arguments.ts';

/** The largest id; the one above it means "no change" to the kernel. */
const MAX_ID = 0xffff_fffe;

/** `words` are the program and its arguments. Throws invalid argument. */
export function execProcess(spec: Spec, given: Given, words: readonly string[]): Process {
  const file = given.text('process');
  if (file !== '') {
    try {
      return parseProcess(readFileSync(file, 'utf8'));
    } catch (err) {
      throw wrap(err, `reading ${file}`);
    }
  }
  if (spec.process === undefined) throw invalidArgument('container has no process of its own; give --process');
  if (words.length === 0) throw invalidArgument('process args cannot be empty');
  // What belongs to the container's own process only.
  const { consoleSize: _, terminal: __, ...own } = spec.process;
  const { capabilities } = own;
  const cwd = given.text('cwd');
  const apparmorProfile = given.text('apparmor');
  const selinuxLabel = given.text('process-label');
  return {
    ...own,
    args: words,
    user: userOf(own.user, given),
    terminal: given.on('tty'),
    env: [...(own.env ?? []), ...given.list('env')],
    ...(cwd === '' ? {} : { cwd }),
    ...(apparmorProfile === '' ? {} : { apparmorProfile }),
    ...(selinuxLabel === '' ? {} : { selinuxLabel }),
    ...(given.has('no-new-privs') ? { noNewPrivileges: given.on('no-new-privs') } : {}),
    ...(given.has('cap') ? { capabilities: withCapabilities(capabilities, given.list('cap')) } : {}),
  };
}

/** Inheritable ones are never added (CVE-2022-29162); ambient ones need them. */
function withCapabilities(sets: LinuxCapabilities | undefined, added: readonly string[]): LinuxCapabilities {
  const and = (names: readonly string[] = []): string[] => [...names, ...added];
  return {
    ...sets,
    bounding: and(sets?.bounding),
    effective: and(sets?.effective),
    permitted: and(sets?.permitted),
    ...((sets?.inheritable ?? []).length > 0 ? { ambient: and(sets?.ambient) } : {}),
  };
}

function userOf(own: User, given: Given): User {
  const text = given.text('user');
  const added = given.list('additional-gids').map((gid) => parseId(gid, 'additional-gids'));
  const user = text === '' ? own : { ...own, ...parseUser(text) };
  if (added.length === 0) return user;
  return { ...user, additionalGids: [...(user.additionalGids ?? []), ...added] };
}

/** `UID` or `UID:GID`, decimal: whatever else somebody may have meant must not become root (CVE-2026-30892). */
export function parseUser(text: string): { uid: number; gid?: number } {
  const [uid = '', gid, ...more] = text.split(':');
  if (more.length > 0) throw invalidArgument(`invalid user ${JSON.stringify(text)}: uid[:gid]`);
  if (gid === undefined) return { uid: parseId(uid, 'user') };
  return { uid: parseId(uid, 'user'), gid: parseId(gid, 'user') };
}

function parseId(text: string, flag: string): number {
  const value = Number(text);
  if (/^(?:0|[1-9]\d{0,9})$/.test(text) && value <= MAX_ID) return value;
  throw invalidArgument(`invalid value ${JSON.stringify(text)} for flag -${flag}: not a decimal id`);
}
