/**
 * Turns the user a person or an image names into numbers, with the image's own passwd and group files.
 *
 * Forms: `user`, `uid`, `user:group`, `uid:gid` and mixed (image spec, config.User). A number needs no entry; a name
 * does. Without a group the passwd entry's is used, or 0 when a numeric user has none. The supplementary groups are
 * those that list the user, and always contain the primary one: otherwise a process could drop a group that denies.
 */
import { failedPrecondition, invalidArgument, notFound } from '@gantry/errors';

/** The texts of `/etc/passwd` and `/etc/group`; undefined when the image has no such file. */
export interface UserFiles {
  readonly passwd: string | undefined;
  readonly group: string | undefined;
}

export interface ResolvedUser {
  readonly uid: number;
  readonly gid: number;
  /** Ascending, without duplicates. */
  readonly additionalGids: readonly number[];
}

interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

const maxId = 2 ** 31 - 1;

/**
 * Throws not found when a name has no entry, invalid argument for a malformed or out-of-range value. `unsafeUser` may
 * come from an image; '' is root.
 */
export function resolveUser(unsafeUser: string, files: UserFiles): ResolvedUser {
  const parts = (unsafeUser === '' ? '0' : unsafeUser).split(':');
  const [userText = '', groupText] = parts;
  if (parts.length > 2 || userText === '' || groupText === '') {
    throw invalidArgument(`user "${unsafeUser}" is not of the form user[:group]`);
  }
  const entries = parsePasswd(files.passwd ?? '');
  const groups = parseGroup(files.group ?? '');
  const uid = parseId(userText);
  const entry = entries.find((candidate) => (uid === undefined ? candidate.name === userText : candidate.uid === uid));
  if (uid === undefined && entry === undefined) {
    throw notFound(`user "${userText}" in /etc/passwd of the image`);
  }
  const gid = groupText === undefined ? (entry?.gid ?? 0) : groupId(groupText, groups);
  const listed = groups.filter((group) => entry !== undefined && group.members.includes(entry.name));
  const additionalGids = [...new Set([gid, ...listed.map((group) => group.gid)])].toSorted((a, b) => a - b);
  return { uid: uid ?? entry?.uid ?? 0, gid, additionalGids };
}

/** True when `resolveUser` can do without files: both halves are numbers. */
export function isNumericUser(user: string): boolean {
  return /^\d+:\d+$/.test(user);
}

function groupId(text: string, groups: readonly GroupEntry[]): number {
  const gid = parseId(text) ?? groups.find((group) => group.name === text)?.gid;
  if (gid === undefined) throw notFound(`group "${text}" in /etc/group of the image`);
  return gid;
}

function parseId(text: string): number | undefined {
  if (!/^\d+$/.test(text)) return undefined;
  const id = Number(text);
  if (id > maxId) throw invalidArgument(`id ${text} is above ${maxId}`);
  return id;
}

/** passwd(5): name:password:uid:gid:… ; lines that are not of this form are skipped, as libc does. */
function parsePasswd(text: string): PasswdEntry[] {
  return text.split('\n').flatMap((line) => {
    const [name = '', , uid = '', gid = ''] = line.split(':');
    return name !== '' && isEntryId(uid) && isEntryId(gid) ? [{ name, uid: Number(uid), gid: Number(gid) }] : [];
  });
}

/** group(5): name:password:gid:member,member */
function parseGroup(text: string): GroupEntry[] {
  return text.split('\n').flatMap((line) => {
    const [name = '', , gid = '', members = ''] = line.split(':');
    return name !== '' && isEntryId(gid) ? [{ name, gid: Number(gid), members: members.trim().split(',') }] : [];
  });
}

function isEntryId(text: string): boolean {
  return /^\d{1,10}$/.test(text) && Number(text) <= maxId;
}

/** Names the reason why a rootfs cannot be looked into; numbers still work then. */
export function cannotReadUserFiles(reason: string): Error {
  return failedPrecondition(`cannot look up a user by name: ${reason}; give numbers (uid:gid)`);
}
