/**
 * Waiting for any descriptor on Node's own event loop: `uv_poll_*` of the running binary, for pidfds, eventfds, inotify,
 * pseudo terminals and fifos, which Node has no API for.
 *
 * libuv calls us outside of any JavaScript frame, where an exception has nobody to go to and promises are not served.
 * So its callback only schedules an immediate: that runs in the same turn of the loop, directly after the poll phase.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { EEXIST } from './errno.ts';
import { declare, failure, koffi, onPreload } from './native.ts';

const c = declare('node', {
  // uv_loop_t *uv_default_loop(void): Node's own loop, owned by libuv
  defaultLoop: 'uint64_t uv_default_loop(void)',
  // int uv_loop_fork(uv_loop_t *loop)
  loopFork: 'int uv_loop_fork(uint64_t loop)',
  // size_t uv_handle_size(uv_handle_type type)
  handleSize: 'size_t uv_handle_size(int type)',
  // int uv_poll_init(uv_loop_t *loop, uv_poll_t *handle, int fd); handle is ours until its close callback
  pollInit: 'int uv_poll_init(uint64_t loop, uint64_t handle, int fd)',
  // int uv_poll_start(uv_poll_t *handle, int events, uv_poll_cb cb)
  pollStart: 'int uv_poll_start(uint64_t handle, int events, uint64_t cb)',
  pollStop: 'int uv_poll_stop(uint64_t handle)',
  // void uv_unref(uv_handle_t *handle)
  unref: 'void uv_unref(uint64_t handle)',
  // void uv_ref(uv_handle_t *handle)
  ref: 'void uv_ref(uint64_t handle)',
  // void uv_close(uv_handle_t *handle, uv_close_cb cb): cb runs in the loop, after which the handle is ours again
  close: 'void uv_close(uint64_t handle, uint64_t cb)',
});

const UV_POLL = 8;
const UV_READABLE = 1;
const UV_WRITABLE = 2;

type Direction = typeof UV_READABLE | typeof UV_WRITABLE;

interface Watch {
  readonly callback: () => void;
  readonly unref: boolean;
  /** An immediate is on its way. */
  pending: boolean;
  stopped: boolean;
}

/** libuv has one poll handle a descriptor; it serves a watch for reading and one for writing. */
interface PollHandle {
  readonly address: bigint;
  readonly watches: Map<Direction, Watch>;
}

interface Machinery {
  readonly loop: number | bigint;
  readonly handleBytes: number;
  readonly onPoll: bigint;
  readonly onClose: bigint;
}

const handlesByFd = new Map<number, PollHandle>();
const handlesByAddress = new Map<bigint, PollHandle>();
let machinery: Machinery | undefined;

/** One pair of native callbacks serves all handles; koffi keeps them for the life of the process. */
function prepared(): Machinery {
  if (machinery === undefined) {
    const { proto, pointer, register, free } = koffi();
    const onPoll = register(
      (handle: bigint, status: number, events: number) => polled(BigInt(handle), status, events),
      pointer(proto('void GantryPollCallback(uint64_t handle, int status, int events)')),
    );
    const onClose = register(
      (handle: bigint) => free(BigInt(handle)),
      pointer(proto('void GantryCloseCallback(uint64_t handle)')),
    );
    machinery = { loop: c.defaultLoop(), handleBytes: c.handleSize(UV_POLL), onPoll, onClose };
  }
  return machinery;
}
onPreload(() => void prepared());

/** libuv's callback. An error is for both directions: whoever reads or writes next will find its errno. */
function polled(address: bigint, status: number, events: number): void {
  for (const [direction, watch] of handlesByAddress.get(address)?.watches ?? []) {
    if ((status === 0 && (events & direction) === 0) || watch.pending) continue;
    watch.pending = true;
    setImmediate(() => {
      watch.pending = false;
      if (!watch.stopped) watch.callback();
    });
  }
}

function openHandle(fd: number): PollHandle {
  const { loop, handleBytes } = prepared();
  const { alloc, address: addressOfMemory, free } = koffi();
  const address = BigInt(addressOfMemory(alloc('uint8_t', handleBytes)));
  const result = c.pollInit(loop, address, fd);
  if (result !== 0) {
    free(address);
    throw failure('uv_poll_init', -result, fd);
  }
  const handle: PollHandle = { address, watches: new Map() };
  handlesByFd.set(fd, handle);
  handlesByAddress.set(address, handle);
  return handle;
}

/** Tells libuv what the watches of a handle are waiting for; without any, gives the handle up. */
function update(fd: number, { address, watches }: PollHandle): void {
  if (watches.size === 0) {
    handlesByFd.delete(fd);
    handlesByAddress.delete(address);
    c.pollStop(address);
    c.close(address, prepared().onClose);
    return;
  }
  const events = [...watches.keys()].reduce((mask, direction) => mask | direction, 0);
  const result = c.pollStart(address, events, prepared().onPoll);
  if (result !== 0) throw failure('uv_poll_start', -result, fd);
  if ([...watches.values()].every(({ unref }) => unref)) c.unref(address);
  else c.ref(address);
}

function watchDirection(fd: number, direction: Direction, callback: () => void, options: WatchOptions): () => void {
  const handle = handlesByFd.get(fd) ?? openHandle(fd);
  if (handle.watches.has(direction)) throw failure('uv_poll_init', EEXIST, fd);
  const watch: Watch = { callback, unref: options.unref === true, pending: false, stopped: false };
  handle.watches.set(direction, watch);
  const stop = (): void => {
    if (watch.stopped) return;
    watch.stopped = true;
    handle.watches.delete(direction);
    update(fd, handle);
  };
  try {
    update(fd, handle);
  } catch (err) {
    stop();
    throw err;
  }
  return stop;
}

export interface WatchOptions {
  /** The watch does not keep the process alive. */
  readonly unref?: boolean;
}

/**
 * Calls `callback` in each turn of the event loop in which `fd` is readable, at its end, or in error: the callback must
 * read until EAGAIN or stop the watch, else it is called again and again. libuv makes the descriptor non-blocking.
 * After an error condition (POLLERR) the callback is called once and then no more.
 *
 * Returns the function that ends the watch; it may be called from the callback and more than once, and the callback is
 * not called any more once it returned. The descriptor stays the caller's: close it only after ending the watch. A
 * second watch for reading on one descriptor is refused with EEXIST; one for writing may be beside it.
 */
export function watchReadable(fd: number, callback: () => void, options: WatchOptions = {}): () => void {
  return watchDirection(fd, UV_READABLE, callback, options);
}

/** The same for writing: `callback` is called while `fd` takes bytes, so a caller without any to write stops it. */
export function watchWritable(fd: number, callback: () => void, options: WatchOptions = {}): () => void {
  return watchDirection(fd, UV_WRITABLE, callback, options);
}

/**
 * Makes the event loop usable in a child of `fork`: until then it shares its parent's epoll descriptor, and would take
 * its events. To be called in the child before anything asynchronous.
 */
export function reopenEventLoop(): void {
  const { loop } = prepared();
  const result = c.loopFork(loop);
  if (result !== 0) throw failure('uv_loop_fork', -result, '');
  // Now, when nothing waits for it, and not at the first container.
  ownDescriptors = undefined;
  eventLoopDescriptors();
}

let ownDescriptors: readonly number[] | undefined;

/**
 * The descriptors that Node's event loop consists of (its epoll and event descriptors, its wake-up pipes), in ascending
 * order: they exist since the process was started or `reopenEventLoop` was called, and are looked up once then. Pipes
 * of others that were open at that moment are among them, because nothing tells them apart.
 */
export function eventLoopDescriptors(): readonly number[] {
  ownDescriptors ??= readdirSync('/proc/self/fd')
    .map(Number)
    .filter((fd) => fd > 2 && isOfEventLoop(fd))
    .toSorted((a, b) => a - b);
  return ownDescriptors;
}

function isOfEventLoop(fd: number): boolean {
  try {
    return /^anon_inode:\[event|^pipe:/.test(readlinkSync(`/proc/self/fd/${fd}`));
  } catch {
    // The one that listed the directory.
    return false;
  }
}
