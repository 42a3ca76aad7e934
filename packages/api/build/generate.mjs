#!/usr/bin/env node
// proto/ → src/gen (TypeScript modules, descriptors.json), before the compiler runs.
// Deterministic; a file whose content stays is not touched, so that incremental builds stay fast; what is left of packages
// that are gone is removed.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { descriptorJson } from './descriptors.mjs';
import { loadProtos } from './protos.mjs';
import { reflectionJson } from './reflection.mjs';
import { typescriptModules } from './typescript.mjs';

const room = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const generated = path.join(room, 'src/gen');

function writeIfChanged(file, text) {
  try {
    if (readFileSync(file, 'utf8') === text) return;
  } catch (err) {
    if (err.code !== 'ENOENT') throw err;
  }
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, text);
}

function removeOthers(dir, keep) {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const full = path.join(dir, entry.name);
    if (entry.isDirectory()) removeOthers(full, keep);
    else if (!keep.has(full)) rmSync(full);
  }
}

const { root, files } = loadProtos(path.resolve(room, '../../proto'));
const outputs = new Map();
for (const [name, text] of typescriptModules(root)) outputs.set(path.join(generated, name), text);
const descriptors = descriptorJson(root, files);
outputs.set(path.join(generated, 'descriptors.json'), descriptors);
for (const [file, text] of outputs) writeIfChanged(file, text);
removeOthers(generated, new Set(outputs.keys()));
// The compiler copies no JSON: the running code reads these.
writeIfChanged(path.join(room, 'dist/gen/descriptors.json'), descriptors);
writeIfChanged(path.join(room, 'dist/gen/reflection.json'), reflectionJson(descriptors));
