#!/usr/bin/env node
import '../dist/zygote/main.js';
