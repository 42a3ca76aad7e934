/** A bundle: a directory with `config.json` and, usually, the root file system. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { invalidArgument, notFound, wrap } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import { parseSpec } from '@gantry/oci';
import type { Spec } from '@gantry/oci';

export interface Bundle {
  /** Absolute path. */
  readonly path: string;
  readonly spec: Spec;
}

/** Enters the directory (the working directory when it is empty), so that relative paths in it mean what they should. */
export function enterBundle(path: string): Bundle {
  if (path !== '') {
    try {
      process.chdir(path);
    } catch (err) {
      if (isErrno(err, 'ENOENT')) throw notFound(`chdir ${path}: no such file or directory`);
      throw wrap(err, `chdir ${path}`);
    }
  }
  let text: string;
  try {
    text = readFileSync('config.json', 'utf8');
  } catch (err) {
    if (isErrno(err, 'ENOENT')) throw notFound('JSON specification file config.json not found');
    throw wrap(err, 'reading config.json');
  }
  return { path: process.cwd(), spec: parseSpec(text) };
}

/** Where the root file system is on the host. */
export function rootfsOf({ path, spec }: Bundle): string {
  if (spec.root === undefined) throw invalidArgument('root: is required');
  return resolve(path, spec.root.path);
}
