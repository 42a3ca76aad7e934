/**
 * What of a container is not its own: it is not saved, only named, and the restored container gets it anew. The names are
 * runc's, so that either can restore what the other has saved.
 *
 *   what                                        name in the images                 after a restore
 *   a bind mount                                its destination                    the source in the configuration
 *   a v1 control group shown to the container   its place                          the new container's group
 *   a masked file                               /dev/null                          a null device
 *   a device node of the host (user namespace)  its path                           the host's
 *   a namespace that was joined (net, pid)      extRootNetNS, extRootPidNS         what the configuration names
 *   stdin, stdout, stderr: a pipe               pipe:[inode]                       the caller's descriptor
 *   stdin, stdout, stderr: a file or fifo that  file[mount id:inode]               the caller's descriptor
 *   is on none of the container's mounts
 */
import { readFileSync, statSync } from 'node:fs';
import { join, posix } from 'node:path';
import { dataLoss, failedPrecondition, wrap } from '@gantry/errors';
import { AT_FDCWD, isErrno, O_CLOEXEC, O_RDONLY } from '@gantry/libc';
import type { Syscalls } from '@gantry/libc';
import type { NamespaceType, Spec } from '@gantry/oci';
import type { Descriptors } from '../clean-up.ts';
import type { Stdio } from '../container.ts';
import { namespaceFiles, namespaceOf } from '../namespaces/plan.ts';
import type { CgroupView } from '../rootfs/cgroup-mount.ts';
import { defaultDevices } from '../rootfs/devices.ts';
import { normalDestination } from '../rootfs/resolve.ts';
import type { ContainerView } from './container-view.ts';
import type { CriuOptions, ExternalMount, InheritedFd } from './messages.ts';
import { descriptorsFile } from './options.ts';

const nullDevice = '/dev/null';
const MAX_DESCRIPTORS_BYTES = 64 * 1024;

/** True for an entry of the mount list that shows a part of the host. */
export function isBind(mount: { readonly type?: string; readonly options?: readonly string[] }): boolean {
  return mount.type === 'bind' || (mount.options ?? []).some((option) => option === 'bind' || option === 'rbind');
}

/** The places at which v1 hierarchies are shown, when they are copies of the host's mounts and no mounts of their own. */
export function cgroupBinds(spec: Spec, view: CgroupView): { readonly name: string; readonly source: string }[] {
  if (view.isUnified || view.ownNamespace) return [];
  return (spec.mounts ?? [])
    .filter(({ type }) => type === 'cgroup')
    .flatMap(({ destination }) =>
      view.hierarchies.map(({ mount, directory }) => ({
        name: posix.join(normalDestination(destination), posix.basename(mount)),
        source: directory,
      })),
    );
}

/** What is mounted in the container and is not its own. */
export function mountsToName(spec: Spec, cgroups: CgroupView, view: ContainerView): ExternalMount[] {
  const binds = (spec.mounts ?? []).filter((mount) => isBind(mount)).map(({ destination }) => destination);
  const groups = cgroupBinds(spec, cgroups).map(({ name }) => name);
  const devices = hostDevices(spec);
  const named = [...binds.map((path) => normalDestination(path)), ...groups, ...devices].flatMap((name) => {
    const place = view.mountAt(name);
    return place === undefined ? [] : [{ key: place.path, value: name }];
  });
  const masks = (spec.linux?.maskedPaths ?? []).flatMap((path) => {
    const place = view.mountAt(path);
    return place === undefined || place.isDirectory ? [] : [{ key: place.path, value: nullDevice }];
  });
  return [...named, ...masks];
}

/** The device nodes that a container in a user namespace is shown instead of having its own. */
export function hostDevices(spec: Spec): string[] {
  if (namespaceOf(spec, 'user') === undefined) return [];
  return [...defaultDevices, ...(spec.linux?.devices ?? [])].map(({ path }) => normalDestination(path));
}

/** What is shown to a restored container without being its own or in its list of mounts. */
export function hostMountsOf(spec: Spec, cgroups: CgroupView, nullDevicePath: string): ExternalMount[] {
  return [
    ...cgroupBinds(spec, cgroups).map(({ name, source }) => ({ key: name, value: source })),
    ...hostDevices(spec).map((path) => ({ key: path, value: path })),
    { key: nullDevice, value: nullDevicePath },
  ];
}

/** Namespaces that criu takes from outside, and the names of both of them. */
const outside: readonly NamespaceType[] = ['network', 'pid'];

function externalName(type: NamespaceType): string {
  return type === 'pid' ? 'extRootPidNS' : 'extRootNetNS';
}

function joinedPath(spec: Spec, type: NamespaceType): string | undefined {
  const path = namespaceOf(spec, type)?.path;
  return path === undefined || path === '' ? undefined : path;
}

/** The joined namespaces that are not saved, as criu's option `external`. */
export function namespacesToName(spec: Spec): string[] {
  return outside.flatMap((type) => {
    const path = joinedPath(spec, type);
    if (path === undefined) return [];
    try {
      return [`${namespaceFiles[type]}[${statSync(path).ino}]:${externalName(type)}`];
    } catch (err) {
      throw wrap(err, `the ${type} namespace ${path}`);
    }
  });
}

/** The same on restore: opened, and those that criu joins by their path. */
export function namespacesToJoin(
  sys: Syscalls,
  spec: Spec,
  descriptors: Descriptors,
): { readonly inherited: InheritedFd[]; readonly joined: NonNullable<CriuOptions['joinNs']> } {
  const inherited: InheritedFd[] = [];
  const joined: { ns: string; file: string }[] = [];
  for (const { type } of spec.linux?.namespaces ?? []) {
    const path = joinedPath(spec, type);
    if (path === undefined) continue;
    if (type === 'cgroup') throw failedPrecondition('a container that joins a cgroup namespace cannot be restored');
    if (!outside.includes(type)) joined.push({ ns: namespaceFiles[type], file: path });
    else inherited.push({ key: externalName(type), fd: descriptors.keep(openNamespace(sys, type, path)) });
  }
  return { inherited, joined };
}

function openNamespace(sys: Syscalls, type: NamespaceType, path: string): number {
  try {
    return sys.openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  } catch (err) {
    if (isErrno(err, 'ENOENT')) throw failedPrecondition(`requested ${type} namespace ${path} does not exist`);
    throw wrap(err, `${type} namespace ${path}`);
  }
}

/** Init's standard streams: under which names they are in the images, and which of them criu has to be told of. */
export function stdioToName(view: ContainerView): { readonly names: string[]; readonly external: string[] } {
  const names: string[] = [];
  const external = new Set<string>();
  for (const fd of [0, 1, 2]) {
    const file = view.openFile(fd);
    if (file === undefined || !file.link.startsWith('/') || view.hasMount(file.mountId)) {
      names.push(file?.link ?? nullDevice);
      continue;
    }
    const name = `file[${file.mountId.toString(16)}:${file.inode.toString(16)}]`;
    names.push(name);
    external.add(name);
  }
  return { names, external: [...external] };
}

/** The caller's descriptors that take the place of saved ones. They are copies with numbers from 3 on. */
export function stdioToInherit(
  sys: Syscalls,
  imagePath: string,
  stdio: Stdio,
  nothing: number,
  descriptors: Descriptors,
): InheritedFd[] {
  const ours = [stdio.stdin, stdio.stdout, stdio.stderr];
  const seen = new Set<string>();
  return readNames(join(imagePath, descriptorsFile)).flatMap((key, index) => {
    const fd = ours[index];
    if (fd === undefined || seen.has(key) || !/^(?:pipe:|file)\[/.test(key)) return [];
    seen.add(key);
    return [{ key, fd: descriptors.keep(sys.dup(fd < 0 ? nothing : fd, 3)) }];
  });
}

/** The names as they were saved; an image may come from anywhere. */
function readNames(path: string): string[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (err) {
    if (isErrno(err, 'ENOENT')) throw failedPrecondition(`${path} is missing: not the checkpoint of a container`);
    throw wrap(err, `reading ${path}`);
  }
  if (text.length <= MAX_DESCRIPTORS_BYTES) {
    const unsafe = parseJson(text);
    if (Array.isArray(unsafe) && unsafe.every((name) => typeof name === 'string')) return unsafe.slice(0, 3);
  }
  throw dataLoss(`${path} is not a list of names`);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
