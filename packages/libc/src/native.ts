/**
 * The only door to koffi: functions of glibc, of libseccomp and of the node binary itself, declared by C prototype.
 *
 * Nothing is loaded before the first call, so importing this room costs no native code. A table's functions replace
 * themselves by koffi's own function objects when they are first used; `preload` does that for all tables at once, for a
 * process that is going to fork and wants its children to find everything resolved.
 *
 * All calls are synchronous: `setns` and its like act on the calling thread, and a forked child has no other.
 */
import { createRequire } from 'node:module';
import type koffiModule from 'koffi';
import { EINTR, EINVAL, errnoDescription, errnoName } from './errno.ts';
import { SyscallError } from './syscall-error.ts';
import type { Path } from './syscalls.ts';

type Koffi = typeof koffiModule;
type Library = ReturnType<Koffi['load']>;

/** A pointer is passed as a Buffer (pinned for the call), as an address, or as null. */
export type NativeArgument = string | number | bigint | Buffer | null;
export type NativeFunction = (...args: readonly NativeArgument[]) => number;
export type NativeTable<Prototypes> = { readonly [Name in keyof Prototypes]: NativeFunction };

/** `glibc`: the C library; `node`: the running binary, for libuv; `seccomp`: libseccomp, which may be absent. */
export type LibraryName = 'glibc' | 'node' | 'seccomp';

const fileNames: Readonly<Record<LibraryName, string | null>> = {
  glibc: 'libc.so.6',
  node: null,
  seccomp: 'libseccomp.so.2',
};

let loadedKoffi: Koffi | undefined;
let readErrno: () => number = () => 0;
const libraries = new Map<LibraryName, Library>();
const resolvers: (() => void)[] = [];

/** koffi itself, loaded at the first call. Throws where this room cannot work at all. */
export function koffi(): Koffi {
  if (loadedKoffi !== undefined) return loadedKoffi;
  if (process.platform !== 'linux' || (process.arch !== 'x64' && process.arch !== 'arm64')) {
    throw new Error(
      `system calls are available on Linux x86-64 and arm64 only, this is ${process.platform} ${process.arch}`,
    );
  }
  const loaded = loadKoffi(createRequire(import.meta.url));
  readErrno = loaded.errno;
  loadedKoffi = loaded;
  return loaded;
}

/**
 * koffi's own native module without what koffi's JavaScript does to find it: that reads the node binary's ELF headers and
 * adds words about old functions, which takes ten times as long as loading does. Where it is not at its usual place (another
 * C library, another layout of the tree) koffi looks for it.
 */
function loadKoffi(require: NodeJS.Require): Koffi {
  try {
    return require(`@koromix/koffi-linux-${process.arch}/linux_${process.arch}/koffi.node`) as Koffi;
  } catch {
    return require('koffi') as Koffi;
  }
}

/** A shared library that is not there. */
export class NativeLibraryError extends Error {
  override readonly name = 'NativeLibraryError';
}

function library(name: LibraryName): Library {
  let loaded = libraries.get(name);
  if (loaded === undefined) {
    const file = fileNames[name];
    try {
      loaded = koffi().load(file);
    } catch (err) {
      throw new NativeLibraryError(`${file ?? 'the running binary'} cannot be loaded`, { cause: err });
    }
    libraries.set(name, loaded);
  }
  return loaded;
}

/**
 * Declares functions of one library by their C prototypes. Several entries may declare one symbol differently, as
 * `syscall` needs. An `optional` table is left out of `preload`, because its library may be missing.
 */
export function declare<const Prototypes extends Readonly<Record<string, string>>>(
  from: LibraryName,
  prototypes: Prototypes,
  options: { readonly optional?: boolean } = {},
): NativeTable<Prototypes> {
  const table = {} as Record<string, NativeFunction>;
  for (const [name, prototype] of Object.entries(prototypes)) {
    const resolve = (): NativeFunction => {
      const value = library(from).func(prototype) as NativeFunction;
      Object.defineProperty(table, name, { value, enumerable: true });
      return value;
    };
    Object.defineProperty(table, name, { get: resolve, enumerable: true, configurable: true });
    if (options.optional !== true) resolvers.push(() => void table[name]);
  }
  return table as NativeTable<Prototypes>;
}

/** Registers something that is set up at first use (scratch memory with its address) for `preload`. */
export function onPreload(resolve: () => void): void {
  resolvers.push(resolve);
}

/** Loads koffi and resolves every declared function, for a process that forks later. */
export function preload(): void {
  for (const resolve of resolvers) resolve();
}

/** errno as the last call left it; only meaningful directly after it. */
export function errno(): number {
  return readErrno();
}

/** True when the call was cut short by a signal and must be made again. */
export function interrupted(result: number): boolean {
  return result < 0 && readErrno() === EINTR;
}

/** What a call was applied to: a path, a text like `pid 12`, or a descriptor. */
export type Subject = string | Buffer | number;

/** The error of a call by errno number. */
export function failure(syscall: string, code: number, subject: Subject): SyscallError {
  const text = typeof subject === 'number' ? `fd ${subject}` : subject.toString();
  return new SyscallError(syscall, code, errnoName(code), errnoDescription(code), text);
}

/** Passes a result on, or throws by errno when it is negative. */
export function check(result: number, syscall: string, subject: Subject): number {
  if (result >= 0) return result;
  throw failure(syscall, readErrno(), subject);
}

/**
 * A path, name or value as C wants it. One with a NUL inside would be silently cut there by C, which lets a name chosen
 * by a stranger mean another file; it is refused with EINVAL.
 */
export function cString(value: Path, syscall: string): string | Buffer {
  if (value.includes('\0')) {
    throw failure(syscall, EINVAL, value.toString().replaceAll('\0', '\\0'));
  }
  return typeof value === 'string' ? value : Buffer.concat([value, NUL]);
}

const NUL = Buffer.alloc(1);

/**
 * The address of a Buffer's memory, for structures that hold pointers (bpf(2) attributes, iovecs). Buffers do not move;
 * the address is good for as long as the caller keeps the Buffer referenced.
 */
export function addressOf(buffer: Buffer): bigint {
  return koffi().address(buffer);
}
