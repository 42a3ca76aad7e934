/** Where a process's stdin, stdout and stderr go. */
import { mkdirSync, closeSync, openSync } from 'node:fs';
import path from 'node:path';
import { Fifos } from '../io/fifos.ts';
import type { StdioPaths } from '../io/fifos.ts';

/**
 * - `null`: nowhere.
 * - `pipes`: to this process, through fifos; `stdin` says whether there is an input side.
 * - `file`: appended to a log file by the shim; nobody has to stay. Parent directories are made.
 * - `uri`: any logging URI the shim understands (`file://`, `binary://`).
 */
export type StdioRequest =
  | { readonly kind: 'null' }
  | { readonly kind: 'pipes'; readonly stdin?: boolean | undefined }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'uri'; readonly uri: string };

/** What goes on the wire, and the client's ends when there are any. */
export interface OpenStdio {
  readonly paths: StdioPaths;
  /** Owned by whoever opened the stdio. */
  readonly fifos: Fifos | undefined;
}

export function openStdio(
  request: StdioRequest,
  options: { readonly id: string; readonly terminal: boolean },
): OpenStdio {
  switch (request.kind) {
    case 'null':
      return { paths: { stdin: '', stdout: '', stderr: '' }, fifos: undefined };
    case 'uri':
      return { paths: uriPaths(request.uri, options.terminal), fifos: undefined };
    case 'file':
      return { paths: filePaths(request.path, options.terminal), fifos: undefined };
    case 'pipes': {
      const fifos = Fifos.create({ id: options.id, stdin: request.stdin ?? false, terminal: options.terminal });
      return { paths: fifos.paths, fifos };
    }
  }
}

function uriPaths(uri: string, terminal: boolean): StdioPaths {
  return { stdin: '', stdout: uri, stderr: terminal ? '' : uri };
}

/** containerd's own shim takes no `file://` for a terminal, but a plain path of an existing file. */
function filePaths(file: string, terminal: boolean): StdioPaths {
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  closeSync(openSync(file, 'a', 0o600));
  return uriPaths(terminal ? file : `file://${file}`, terminal);
}
