// A run of the bundle of which the code cache is made: everything that V8 has compiled until the process ends.
// usage: node training.cjs GANTRYD-ARGUMENT…
const { renameSync, writeFileSync } = require('node:fs');
const path = require('node:path');

const program = path.join(__dirname, '../bin/gantryd.js');
const { loadBundle, run } = require(program);

const bundle = loadBundle();
if (bundle === undefined) throw new Error('there is no bundle, or it is older than what it is made of');
process.argv[1] = program;
process.once('exit', () => {
  writeFileSync(`${bundle.cacheFile}.new`, bundle.script.createCachedData());
  renameSync(`${bundle.cacheFile}.new`, bundle.cacheFile);
});
run(bundle);
