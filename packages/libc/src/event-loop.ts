/**
 * Waiting for any descriptor on Node's own event loop: `uv_poll_*` of the running binary, for pidfds, eventfds, inotify,
 * pseudo terminals and fifos, which Node has no API for.
 *
 * libuv calls us outside of any JavaScript frame, where an exception has nobody to go to and promises are not served.
 * So its callback only schedules an immediate: that runs in the same turn of the loop, directly after the poll phase.
 */
import { failure, declare, koffi, onPreload } from './native.ts';

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
  // void uv_close(uv_handle_t *handle, uv_close_cb cb): cb runs in the loop, after which the handle is ours again
  close: 'void uv_close(uint64_t handle, uint64_t cb)',
});

const UV_POLL = 8;
const UV_READABLE = 1;

interface Watch {
  readonly callback: () => void;
  /** An immediate is on its way. */
  pending: boolean;
  stopped: boolean;
}

interface Machinery {
  readonly loop: number | bigint;
  readonly handleBytes: number;
  readonly onPoll: bigint;
  readonly onClose: bigint;
}

const watches = new Map<bigint, Watch>();
let machinery: Machinery | undefined;

/** One pair of native callbacks serves all watches; koffi keeps them for the life of the process. */
function prepared(): Machinery {
  if (machinery === undefined) {
    const { proto, pointer, register, free } = koffi();
    const onPoll = register(
      (handle: bigint) => polled(BigInt(handle)),
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

function polled(handle: bigint): void {
  const watch = watches.get(handle);
  if (watch === undefined || watch.pending) return;
  watch.pending = true;
  setImmediate(() => {
    watch.pending = false;
    if (!watch.stopped) watch.callback();
  });
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
 * not called any more once it returned. The descriptor stays the caller's: close it only after ending the watch.
 */
export function watchReadable(fd: number, callback: () => void, options: WatchOptions = {}): () => void {
  const { loop, handleBytes, onPoll, onClose } = prepared();
  const { alloc, address, free } = koffi();
  const handle = BigInt(address(alloc('uint8_t', handleBytes)));
  const initialised = c.pollInit(loop, handle, fd);
  if (initialised !== 0) {
    free(handle);
    throw failure('uv_poll_init', -initialised, fd);
  }
  const watch: Watch = { callback, pending: false, stopped: false };
  watches.set(handle, watch);
  const stop = (): void => {
    if (watch.stopped) return;
    watch.stopped = true;
    watches.delete(handle);
    c.pollStop(handle);
    c.close(handle, onClose);
  };
  const started = c.pollStart(handle, UV_READABLE, onPoll);
  if (started !== 0) {
    stop();
    throw failure('uv_poll_start', -started, fd);
  }
  if (options.unref === true) c.unref(handle);
  return stop;
}

/**
 * Makes the event loop usable in a child of `fork`: until then it shares its parent's epoll descriptor, and would take
 * its events. To be called in the child before anything asynchronous.
 */
export function reopenEventLoop(): void {
  const { loop } = prepared();
  const result = c.loopFork(loop);
  if (result !== 0) throw failure('uv_loop_fork', -result, '');
}
