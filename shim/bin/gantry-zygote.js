#!/usr/bin/env node
'use strict';
require('./load.cjs').load('zygote.cjs', 'zygote/main.js');
