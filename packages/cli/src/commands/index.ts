/** Every command, in the order of the help. */
import type { Command } from '../args/command.ts';
import { attachCommand } from './attach.ts';
import { execCommand } from './exec.ts';
import { loadCommand, saveCommand } from './archives.ts';
import { commitCommand, diffCommand } from './commit.ts';
import { convertCommand } from './convert.ts';
import { historyCommand } from './history.ts';
import { imagesCommand, tagCommand } from './images.ts';
import { pruneCommand } from './prune.ts';
import { pullCommand, pushCommand } from './registry.ts';
import { inspectCommand, inspectContainerCommand, inspectImageCommand } from './inspect.ts';
import { killCommand, rmCommand, startCommand, stopCommand, waitCommand } from './lifecycle.ts';
import { logsCommand } from './logs.ts';
import { nounCommands } from './nouns.ts';
import { psCommand } from './ps.ts';
import { rmiCommand } from './rmi.ts';
import { runCommand } from './run.ts';
import { statsCommand } from './stats.ts';
import { eventsCommand, versionCommand } from './system.ts';

export const commands: readonly Command[] = [
  runCommand,
  psCommand,
  logsCommand,
  execCommand,
  attachCommand,
  startCommand,
  stopCommand,
  killCommand,
  waitCommand,
  rmCommand,
  inspectCommand,
  inspectContainerCommand,
  inspectImageCommand,
  statsCommand,
  diffCommand,
  commitCommand,
  pullCommand,
  pushCommand,
  imagesCommand,
  historyCommand,
  convertCommand,
  tagCommand,
  rmiCommand,
  pruneCommand,
  saveCommand,
  loadCommand,
  eventsCommand,
  versionCommand,
  ...nounCommands,
];
