#!/usr/bin/env node
'use strict';
const { join } = require('node:path');
const { load } = require('./load.cjs');

const argv = process.argv.slice(2);
load('main', 'plain', ({ enters, runSealed }) => {
  if (enters(argv)) runSealed(argv, join(__dirname, 'sealed.cjs'));
  load('program', 'plain', ({ carryOut }) => carryOut(argv));
});
