// Programs that are started often, each made one file after the compiler has run: reading ninety modules one by one takes
// five times as long, and what V8 keeps of each is memory of every process. Used by the build folders of runtime, shim and packages/diff.
import { rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { build } from 'esbuild';

/** When a file was written, in milliseconds; 0 when it is not there. */
export const timeOf = (name) => statSync(name, { throwIfNoEntry: false })?.mtimeMs ?? 0;

/** Whether the compiler has written anything of these rooms since `file` was made. */
export const isOlder = (file, rooms) =>
  timeOf(file) < Math.max(...rooms.map((room) => timeOf(path.join(room, 'dist/.tsbuildinfo'))));

/** Bundles `entryPoints` (name → compiled module) into `out`/name.cjs; whatever else is in `out` goes. */
export async function bundleParts(entryPoints, out) {
  rmSync(out, { recursive: true, force: true });
  await build({
    entryPoints,
    outdir: out,
    outExtension: { '.js': '.cjs' },
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    charset: 'ascii', // V8 keeps one byte a character then
    legalComments: 'none',
    minifyWhitespace: true, // V8 keeps the text
    // Evaluated as a script, which has nobody to ask for modules.
    supported: { 'dynamic-import': false },
    external: ['koffi'],
    define: { 'import.meta.url': '__moduleUrl' },
    banner: { js: "const __moduleUrl = require('node:url').pathToFileURL(__filename).href;" },
    logLevel: 'warning',
  });
}
