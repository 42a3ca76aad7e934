/**
 * What a stdio string of the task API means (stdin, stdout, stderr of Create and Exec).
 *
 *   ""                   the null device
 *   /path, fifo:///path  a fifo made by the client, or an existing file, which is appended to
 *   file:///path         a log file, made when missing, its directories too; appended to
 *   binary:///path?k=v…  a logging program, for stdout and stderr together (logging-program.ts)
 */
import { invalidArgument, notImplemented } from '@gantry/errors';

export type StreamName = 'stdin' | 'stdout' | 'stderr';

export type StdioTarget =
  | { readonly kind: 'null' }
  /** Exists already: fifo, regular file or character device. */
  | { readonly kind: 'existing'; readonly path: string }
  | { readonly kind: 'log'; readonly path: string }
  | { readonly kind: 'program'; readonly path: string; readonly args: readonly string[] };

const nullTarget: StdioTarget = { kind: 'null' };

/** The three strings of a request, parsed together: a log file given as stdout takes stderr too when that is empty. */
export interface StdioTargets {
  readonly stdin: StdioTarget;
  readonly stdout: StdioTarget;
  readonly stderr: StdioTarget;
}

/**
 * Throws invalid argument for what no supervisor should send, naming the stream. With a terminal stderr is ignored, as
 * everything leaves by the terminal; a logging program given as stdout takes stderr as well.
 */
export function parseStdio(strings: {
  readonly terminal: boolean;
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
}): StdioTargets {
  const stdin = parseTarget('stdin', strings.stdin);
  if (stdin.kind === 'log' || stdin.kind === 'program')
    throw invalidArgument(`stdin "${strings.stdin}": only a fifo can be read from`);
  const stdout = parseTarget('stdout', strings.stdout);
  if (strings.terminal) return { stdin, stdout, stderr: nullTarget };
  if (stdout.kind === 'program') return { stdin, stdout, stderr: nullTarget };
  const stderr = strings.stderr === '' && stdout.kind === 'log' ? stdout : parseTarget('stderr', strings.stderr);
  if (stderr.kind === 'program')
    throw invalidArgument(`stderr "${strings.stderr}": stdout decides on a logging program`);
  return { stdin, stdout, stderr };
}

/** One stdio string. */
export function parseTarget(stream: StreamName, text: string): StdioTarget {
  if (text === '') return nullTarget;
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase();
  switch (scheme) {
    case undefined:
      return { kind: 'existing', path: absolutePath(stream, text, text) };
    case 'fifo':
      return { kind: 'existing', path: uriPath(stream, text) };
    case 'file':
      return { kind: 'log', path: uriPath(stream, text) };
    case 'binary':
      return { kind: 'program', path: uriPath(stream, text), args: queryWords(text) };
    case 'binary-v2':
      throw notImplemented(`${stream} "${text}": scheme ${scheme}`);
    default:
      throw invalidArgument(`${stream} "${text}": unknown scheme ${scheme}`);
  }
}

/** The path between `scheme://` and the query, percent-decoded. */
function uriPath(stream: StreamName, text: string): string {
  const encoded = text.slice(text.indexOf('://') + 3).replace(/[?#].*$/s, '');
  try {
    return absolutePath(stream, text, decodeURIComponent(encoded));
  } catch (err) {
    if (err instanceof URIError) throw invalidArgument(`${stream} "${text}": bad percent escape`);
    throw err;
  }
}

/** Each key of the query and its value, in turn. */
function queryWords(text: string): string[] {
  const question = text.indexOf('?');
  return question < 0 ? [] : [...new URLSearchParams(text.slice(question + 1))].flat();
}

function absolutePath(stream: StreamName, text: string, path: string): string {
  if (!path.startsWith('/') || path.includes('\0')) throw invalidArgument(`${stream} "${text}": not an absolute path`);
  return path;
}
