#!/usr/bin/env node
// dist/main.js and what it imports → dist/gantryd.cjs, after the compiler has run: one file is read and compiled instead of
// three hundred. Then the code cache of it, see code-cache.mjs. bin/gantryd.js runs both, and dist/main.js where they are not.
//
// What is not in the bundle: native modules, and what a program of its own is (the differ's worker, the shim). They are
// found where dist/main.js finds them, because modules keep their own `import.meta.url`.
import { createHash } from 'node:crypto';
import { readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { makeCodeCache } from './code-cache.mjs';
import { standingIn } from './stand-ins.mjs';

const room = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const dist = path.join(room, 'dist');
const bundleFile = path.join(dist, 'gantryd.cjs');

/** `import.meta.url` of a module in the bundle: where its own file lies, seen from the bundle. */
const ownUrls = {
  name: 'own urls',
  setup({ onLoad }) {
    onLoad({ filter: /\/(dist|lmdb)\/.*\.js$/ }, async ({ path: file }) => {
      const text = await readFile(file, 'utf8');
      if (!text.includes('import.meta.url')) return undefined;
      const relative = JSON.stringify(path.relative(dist, file));
      return { contents: text.replaceAll('import.meta.url', `__urlOf(${relative})`), loader: 'js' };
    });
  },
};

const { outputFiles, metafile } = await build({
  absWorkingDir: dist,
  entryPoints: ['main.js'],
  outfile: bundleFile,
  bundle: true,
  write: false,
  metafile: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  conditions: ['node', 'import'], // lmdb's ES modules rather than its bundle of them
  charset: 'ascii', // V8 keeps one byte a character then
  legalComments: 'none',
  minifyWhitespace: true, // V8 keeps the text; names stay, and lines that a stack trace can point at
  lineLimit: 160,
  logLevel: 'warning',
  plugins: [ownUrls, standingIn(room)],
  banner: {
    js: `const __external = require;
const __urlOf = (file) => require('node:url').pathToFileURL(require('node:path').join(__dirname, file)).href;`,
  },
});
const [{ text }] = outputFiles;
const id = createHash('sha256').update(text).digest('hex').slice(0, 16);
const rooms = Object.keys(metafile.inputs).map(
  (file) => /^(?:\.\.\/(?!.*node_modules\/).*?dist\/|(?=[^./]))/.exec(file)?.[0],
);
const madeOf = [...new Set(rooms.filter((dir) => dir !== undefined))].map((dir) => `${dir}.tsbuildinfo`);
await writeFile(`${bundleFile}.new`, `// ${JSON.stringify({ id, madeOf })}\n${text}`);
await rename(`${bundleFile}.new`, bundleFile);

const caches = (await readdir(dist)).filter((name) => name.endsWith('.cache'));
for (const name of caches) if (!name.startsWith(`gantryd-${id}-`)) await rm(path.join(dist, name));
if (!caches.includes(`gantryd-${id}-${process.versions.v8}.cache`)) {
  await makeCodeCache().catch((err) => {
    console.warn(`gantryd starts more slowly than it could, because the run for its code cache failed: ${err.message}`);
  });
}
