/** Where the supervisor listens. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { invalidArgument, unavailable } from '@gantry/errors';

/** The socket used when nobody says otherwise. */
export const defaultAddress = '/run/gantry/gantry.sock';

/** The namespace used when nobody says otherwise; the one of ctr and nerdctl too. */
export const defaultNamespace = 'default';

/**
 * The socket path in an address: an absolute path, or the same with `unix://` in front.
 * Throws invalid argument for anything else; the API is not offered over TCP.
 */
export function socketPath(address: string): string {
  const file = address.startsWith('unix://') ? address.slice('unix://'.length) : address;
  if (!path.isAbsolute(file)) {
    throw invalidArgument(`address "${address}" is not the absolute path of a unix socket`);
  }
  return file;
}

/** Throws unavailable with a sentence for people when there is no such socket at all. */
export function checkSocketExists(file: string): void {
  if (!existsSync(file)) {
    throw unavailable(`no supervisor listens on ${file}: there is no such socket`, { address: file });
  }
}
