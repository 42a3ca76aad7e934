'use strict';
// Runs a program of the shim's from the one file that the build made of it (build/bundle.mjs), or from its modules where there
// is none. A bundle that is older than what it was made of is not used: a compiled change is always what runs.
const { statSync } = require('node:fs');
const { join } = require('node:path');

const dist = join(__dirname, '../dist');
// Absent in an installed tree, where nothing is compiled any more.
const rooms = ['libc', 'cgroups', 'oci', 'errors', 'api', 'ttrpc'].map((room) => `../../packages/${room}/dist`);
const compiled = ['../dist', '../../runtime/dist', ...rooms].map((room) => join(__dirname, room, '.tsbuildinfo'));

const time = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

/** `module` is the program among the compiled modules. */
function load(bundle, module) {
  const file = join(dist, 'bundle', bundle);
  const made = time(file);
  if (made > 0 && compiled.every((info) => time(info) <= made)) require(file);
  else void import(join(dist, module));
}

module.exports = { load };
