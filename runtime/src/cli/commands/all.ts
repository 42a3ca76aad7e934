/** Every command, in the order of the help text. */
import type { Command } from '../command.ts';
import { checkpoint } from './checkpoint.ts';
import { create } from './create.ts';
import { deleteCommand } from './delete.ts';
import { events } from './events.ts';
import { exec } from './exec.ts';
import { features } from './features.ts';
import { kill } from './kill.ts';
import { list } from './list.ts';
import { pause, resume } from './pause.ts';
import { ps } from './ps.ts';
import { restore } from './restore.ts';
import { run } from './run.ts';
import { spec } from './spec.ts';
import { start } from './start.ts';
import { state } from './state.ts';
import { update } from './update.ts';

export const commands: readonly Command[] = [
  checkpoint,
  create,
  deleteCommand,
  events,
  exec,
  features,
  kill,
  list,
  pause,
  ps,
  restore,
  resume,
  run,
  spec,
  start,
  state,
  update,
];
