#!/usr/bin/env node
// Makes dist/bundle: the differ's worker as one file, which starts in half the time. Without it, or when it is older than
// what it is made of, the worker runs from its modules. `--if-needed`: only when something was compiled since.
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleParts, isOlder } from '../../../scripts/bundle-parts.mjs';

const room = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const out = path.join(room, 'dist/bundle');
const compiled = ['diff', 'archive', 'libc', 'oci', 'errors'].map((name) => path.join(room, '..', name));

if (!process.argv.includes('--if-needed') || isOlder(path.join(out, 'worker.cjs'), compiled)) {
  await bundleParts({ worker: path.join(room, 'dist/worker.js') }, out);
}
