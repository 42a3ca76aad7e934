/** criu's log, as far as an error text can bear it. */
import { readFileSync } from 'node:fs';

const MAX_LINES = 3;
const MAX_CHARACTERS = 600;

/** Errors that criu meets on its way and that are not why it fails. */
const harmless = /\/util\.c:\d+\): exited, status=|Unable to create (?:tun|a veth)|: -95 reported by netlink/;

/** The last errors in the log, the final one last; empty when there is no log or none in it. */
export function errorsIn(path: string): string {
  let log: string;
  try {
    log = readFileSync(path, 'utf8');
  } catch {
    return '';
  }
  return errorsOf(log);
}

/** As `errorsIn`, of a text. */
export function errorsOf(log: string): string {
  const errors = log
    .split('\n')
    .filter((line) => /^(?:\(\d+\.\d+\)\s+(?:\d+: )?)?Error \(/.test(line) && !harmless.test(line))
    .map((line) => line.replace(/^\(\d+\.\d+\) /, '').trim());
  return errors.slice(-MAX_LINES).join('; ').slice(-MAX_CHARACTERS);
}
