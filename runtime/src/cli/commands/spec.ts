/** `spec`: a configuration to start from. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { alreadyExists } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import type { Command } from '../command.ts';
import { starterSpec } from '../starter-spec.ts';

export const spec: Command = {
  name: 'spec',
  usage: 'spec [options]',
  summary: 'write a config.json to start from',
  flags: [
    { name: 'bundle', aliases: ['b'], kind: 'text', help: 'the bundle directory (default: the working directory)' },
    { name: 'rootless', kind: 'switch', help: 'for a user without privileges' },
  ],
  words: [0, 0],
  run(_, { given }) {
    const ids = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
    const text = JSON.stringify(starterSpec(given.on('rootless') ? ids : undefined), undefined, '\t');
    try {
      // Never over one that is there.
      writeFileSync(join(given.text('bundle'), 'config.json'), `${text}\n`, { flag: 'wx', mode: 0o666 });
    } catch (err) {
      if (!isErrno(err, 'EEXIST')) throw err;
      throw alreadyExists('File config.json exists. Remove it first');
    }
    return 0;
  },
};
