'use strict';
// Runs what a usual command runs and writes V8's code for it. usage: node [flags] take-code.cjs PART FILE WORD …
// Functions are in the code from when they were first called on. What the child of a container's birth runs is rehearsed.
const { writeFileSync } = require('node:fs');
const { evaluate } = require('../bin/load.cjs');

const [part, file, ...words] = process.argv.slice(2);
const { exports: program, script } = evaluate(part);
const write = () => writeFileSync(file, script.createCachedData());
if (part === 'main') {
  program.enters(words);
  // An attempt that the kernel refuses.
  try {
    program.runSealed(words, '/nowhere/at-all');
  } catch {
    write();
  }
} else {
  program.rehearse();
  void program.runCommand(words).then(() => {
    write();
    process.exit(0);
  });
}
