#!/usr/bin/env node
// dist/revision.json: the commit that this was built from, with `.m` behind it when files were changed since, for
// Version.Version. Without git, or outside of a clone, there is none, and the service says nothing rather than something.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const room = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const file = path.join(room, 'dist/revision.json');

function git(...args) {
  try {
    return execFileSync('git', ['-C', room, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return '';
  }
}

function read() {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

const commit = git('rev-parse', 'HEAD');
const changed = commit !== '' && git('status', '--porcelain', '--untracked-files=no') !== '';
const text = `${JSON.stringify({ revision: changed ? `${commit}.m` : commit })}\n`;
if (read() !== text) writeFileSync(file, text);
