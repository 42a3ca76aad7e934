/**
 * The loop of the zygote: reads a request, forks, answers.
 *
 * It never gives way to the event loop: what is synchronous leaves no handle, timer or promise behind that a child would
 * inherit. In the parent `serve` returns when gantryd is gone; in a child it returns what the child was made for.
 */
import { readSync, writeSync } from 'node:fs';
import { messageOf } from '@gantry/errors';
import type { ProcessCalls } from '@gantry/libc';
import { controlFd, encodeMessage, parseForkRequest } from './protocol.ts';
import type { ForkRequest, ZygoteMessage } from './protocol.ts';

const chunk = Buffer.alloc(16 * 1024);

/** Returns the request in the child that it was forked for, undefined in the zygote when there is nobody to serve. */
export function serve(sys: Pick<ProcessCalls, 'fork'>): ForkRequest | undefined {
  say({ ready: true });
  let rest = '';
  for (;;) {
    const bytes = readSync(controlFd, chunk);
    if (bytes === 0) return undefined;
    rest += chunk.toString('utf8', 0, bytes);
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
      const request = parseForkRequest(rest.slice(0, end));
      rest = rest.slice(end + 1);
      if (request !== undefined && bear(sys, request)) return request;
    }
  }
}

/** True in the child. */
function bear(sys: Pick<ProcessCalls, 'fork'>, request: ForkRequest): boolean {
  let pid: number;
  try {
    pid = sys.fork();
  } catch (err) {
    say({ failed: request.fork, error: messageOf(err) });
    return false;
  }
  if (pid === 0) return true;
  say({ forked: request.fork, pid });
  return false;
}

/** Small enough to be one write. Throws EPIPE when gantryd is gone. */
export function say(message: ZygoteMessage): void {
  writeSync(controlFd, encodeMessage(message));
}
