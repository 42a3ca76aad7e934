/** Where a ttrpc socket is. */
import { invalidArgument } from '@gantry/errors';

/** What fits into `sun_path` with its terminating zero (unix(7)); Node would cut a longer one off without a word. */
const maxPathBytes = 107;

/**
 * The path of an address, which is a plain path or has the form `unix:///path`. Throws invalid argument when it is too long
 * for a socket, or abstract: everybody in the network namespace can connect to an abstract socket.
 */
export function socketPathOf(address: string): string {
  const path = address.startsWith('unix://') ? address.slice('unix://'.length) : address;
  if (!path.startsWith('/')) throw invalidArgument(`socket address "${address}": must be an absolute path`);
  if (path.includes('\0')) throw invalidArgument('socket address: must not contain a zero byte');
  const sizeBytes = Buffer.byteLength(path);
  if (sizeBytes > maxPathBytes) {
    throw invalidArgument(`socket path "${path}": ${sizeBytes} bytes, the maximum is ${maxPathBytes}`);
  }
  return path;
}
