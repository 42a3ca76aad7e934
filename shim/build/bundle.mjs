#!/usr/bin/env node
// Makes dist/bundle: the shim's program and the zygote's, each one file. Without it they run from their modules: more slowly,
// and every shim, which is a fork of the zygote, is larger. `--if-needed`: only when something was compiled since.
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleParts, isOlder } from '../../scripts/bundle-parts.mjs';

const room = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const out = path.join(room, 'dist/bundle');
const compiled = [
  'shim',
  'runtime',
  'packages/api',
  'packages/ttrpc',
  'packages/libc',
  'packages/cgroups',
  'packages/oci',
]
  .concat('packages/errors')
  .map((name) => path.join(room, '..', name));

if (!process.argv.includes('--if-needed') || isOlder(path.join(out, 'zygote.cjs'), compiled)) {
  await bundleParts({ main: path.join(room, 'dist/main.js'), zygote: path.join(room, 'dist/zygote/main.js') }, out);
}
