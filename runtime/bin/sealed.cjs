'use strict';
require('./load.cjs').load('program', 'sealed', ({ carryOut }) => carryOut(process.argv.slice(2)));
