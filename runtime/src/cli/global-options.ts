/** The options before the command. */
import { invalidArgument } from '@gantry/errors';
import type { Flag, Given } from './arguments.ts';

/** Where the state directories are when nobody says otherwise; in memory, so that it is empty after a boot. */
const defaultRoot = '/run/gantry-runtime';

export const globalFlags: readonly Flag[] = [
  { name: 'debug', kind: 'switch', help: 'write debug lines to the log' },
  { name: 'log', kind: 'text', help: 'file for the log (default: standard error)' },
  { name: 'log-format', kind: 'text', help: 'text (default) or json' },
  { name: 'root', kind: 'text', help: `directory of the containers' state (default: ${defaultRoot})` },
  { name: 'criu', kind: 'text', help: 'the program that makes and restores checkpoints (default: criu on PATH)' },
  { name: 'systemd-cgroup', kind: 'switch', help: 'control groups by systemd; cgroupsPath is slice:prefix:name' },
  { name: 'rootless', kind: 'text', help: 'go on without control groups: true, false or auto (default)' },
  { name: 'help', aliases: ['h'], kind: 'switch', help: 'show this text' },
  { name: 'version', aliases: ['v'], kind: 'switch', help: 'show the version' },
];

export interface GlobalOptions {
  /** Absolute or relative to the working directory. */
  readonly root: string;
  readonly systemdCgroup: boolean;
  /** As given; empty when it was not. */
  readonly criu: string;
  /** Control groups that cannot be had are done without. */
  readonly rootless: boolean | 'auto';
  readonly debug: boolean;
  readonly logFile: string;
  readonly logFormat: 'text' | 'json';
}

export function globalOptions(given: Given): GlobalOptions {
  const rootless = isRootless(given.text('rootless'));
  const format = given.text('log-format');
  if (!['', 'text', 'json'].includes(format)) throw invalidArgument(`invalid log-format: ${format}`);
  return {
    root: given.text('root') === '' ? rootFor() : given.text('root'),
    systemdCgroup: given.on('systemd-cgroup'),
    criu: given.text('criu'),
    rootless,
    debug: given.on('debug'),
    logFile: given.text('log'),
    logFormat: format === 'json' ? 'json' : 'text',
  };
}

function isRootless(word: string): boolean | 'auto' {
  if (word === '' || word === 'auto') return 'auto';
  if (/^(?:1|t|true)$/i.test(word)) return true;
  if (/^(?:0|f|false)$/i.test(word)) return false;
  throw invalidArgument(`invalid value ${JSON.stringify(word)} for flag -rootless: true, false or auto`);
}

function rootFor(): string {
  const runtimeDir = process.env['XDG_RUNTIME_DIR'] ?? '';
  return process.geteuid?.() !== 0 && runtimeDir !== '' ? `${runtimeDir}/gantry-runtime` : defaultRoot;
}
