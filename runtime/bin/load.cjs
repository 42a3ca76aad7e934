'use strict';
// Loads a part of the program from one file with V8's code for it (build/bundle.mjs): ninety modules one by one take five
// times as long. A bundle that is older than what it was made of is not used: a compiled change is always what runs.
const { readFileSync, statSync } = require('node:fs');
const { createRequire } = require('node:module');
const { dirname, join } = require('node:path');
const { Script } = require('node:vm');

const dist = join(__dirname, '../dist');

// Absent in an installed tree, where nothing is compiled any more.
const rooms = ['libc', 'cgroups', 'oci', 'errors'].map((room) => join(__dirname, '../../packages', room, 'dist'));

function time(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function isCurrent(file) {
  const made = time(file);
  return made > 0 && [dist, ...rooms].every((directory) => time(join(directory, '.tsbuildinfo')) <= made);
}

function codeOf(file, flags) {
  try {
    return readFileSync(`${file}.${flags}`);
  } catch {
    return undefined;
  }
}

function bundleOf(part) {
  return join(dist, 'bundle', `${part}.cjs`);
}

/** The exports of a bundle and its script; `cachedData` is V8's code for it, made under the flags that this process has. */
function evaluate(part, cachedData) {
  const file = bundleOf(part);
  const source = `(function (exports, require, module, __filename, __dirname) {${readFileSync(file, 'utf8')}\n})`;
  const script = new Script(source, { filename: file, ...(cachedData === undefined ? {} : { cachedData }) });
  const module = { exports: {} };
  script.runInThisContext()(module.exports, createRequire(file), module, file, dirname(file));
  return { exports: module.exports, script };
}

/** Calls `run` with the exports of `part`; `flags` names the code to use. */
function load(part, flags, run) {
  const file = bundleOf(part);
  if (isCurrent(file)) run(evaluate(part, codeOf(file, flags)).exports);
  else void import(`../dist/cli/${part}.js`).then(run);
}

module.exports = { evaluate, load };
