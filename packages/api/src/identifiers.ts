/** containerd's rules for the names of things. */
import { invalidArgument } from '@gantry/errors';

const maxIdentifierLength = 76;
/** Written as containerd words it in its errors. */
const identifierPattern = /^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$/;

/** How much of a bad name is repeated in the error. */
const maxShownLength = 128;

/**
 * Checks the identifier of a namespace, container, sandbox, task, or a component of a topic: 1 to 76 letters and digits,
 * single `.`, `_` or `-` between them. `kind` names it in the error where it is not ''.
 * Throws invalid argument, in containerd's words.
 */
export function checkIdentifier(kind: string, id: string): void {
  const named = kind === '' ? 'identifier' : `${kind}: identifier`;
  if (id === '') throw invalidArgument(`${named} must not be empty`);
  if (id.length > maxIdentifierLength) {
    throw invalidArgument(`${named} ${shown(id)} greater than maximum length (${maxIdentifierLength} characters)`);
  }
  if (!identifierPattern.test(id)) {
    throw invalidArgument(`${named} ${shown(id)} must match ${identifierPattern.source}`);
  }
}

export function isIdentifier(id: string): boolean {
  return id.length <= maxIdentifierLength && identifierPattern.test(id);
}

function shown(id: string): string {
  return JSON.stringify(id.length > maxShownLength ? `${id.slice(0, maxShownLength)}…` : id);
}
