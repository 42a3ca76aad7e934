/** Values of flags: sizes, processors, mounts, signals, environment. */
import path from 'node:path';
import { constants } from 'node:os';
import { invalidArgument } from '@gantry/errors';
import type { Mount } from '@gantry/oci';
import { nearest } from './nearest.ts';

const unitBytes: Readonly<Record<string, number>> = { '': 1, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** `512m`, `1.5g`, `1073741824`; units are powers of 1024. */
export function parseBytes(text: string, flag: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?$/i.exec(text);
  const bytes = Math.floor(Number(match?.[1]) * (unitBytes[match?.[2]?.toLowerCase() ?? ''] ?? Number.NaN));
  if (match === null || !Number.isSafeInteger(bytes) || bytes <= 0) {
    throw invalidArgument(`flag ${flag}: "${text}" is not a size such as 512m`);
  }
  return bytes;
}

/** A positive number of processors, fractions allowed. */
export function parseCpus(text: string): number {
  const cpus = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || cpus < 0.01) {
    throw invalidArgument(`flag --cpus: "${text}" is not a number of processors such as 1.5`);
  }
  return cpus;
}

/** Seconds, fractions allowed, or a time such as `1h30m`, as milliseconds. */
export function parseSeconds(text: string, flag: string): number {
  const ms = parseDuration(text);
  if (ms !== undefined) return ms;
  if (!/^\d+(\.\d+)?$/.test(text)) throw invalidArgument(`flag ${flag}: "${text}" is not a number of seconds`);
  return Math.round(Number(text) * 1000);
}

const durationMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `90s`, `1h30m`, `1.5d` as milliseconds; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) return undefined;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)];
  return parts.reduce((sum, [, number, unit = '']) => sum + Number(number) * (durationMs[unit] ?? 0), 0);
}

/** A signal's number from `KILL`, `SIGKILL` or `9`. */
export function parseSignal(text: string): number {
  if (/^\d+$/.test(text) && Number(text) >= 1 && Number(text) <= 64) return Number(text);
  const name = text.toUpperCase().startsWith('SIG') ? text.toUpperCase() : `SIG${text.toUpperCase()}`;
  const number = Object.entries(constants.signals).find(([known]) => known === name)?.[1];
  if (number !== undefined) return number;
  const near = nearest(name, Object.keys(constants.signals));
  throw invalidArgument(`unknown signal "${text}"${near === undefined ? '' : `; did you mean ${near}?`}`);
}

/** `NAME=value` as it is; `NAME` alone takes the caller's value, or removes the name when the caller has none. */
export function parseEnv(text: string, own: NodeJS.ProcessEnv): string {
  if (text.startsWith('=') || text === '') throw invalidArgument(`flag --env: "${text}" has no name`);
  if (text.includes('=')) return text;
  const value = own[text];
  return value === undefined ? text : `${text}=${value}`;
}

/** `SOURCE:DESTINATION[:ro|rw,…]`, as `-v`. Named volumes do not exist. */
export function parseVolume(text: string): Mount {
  const [source = '', destination = '', options = '', ...more] = text.split(':');
  if (more.length > 0 || source === '' || destination === '') {
    throw invalidArgument(`flag --volume: "${text}" is not SOURCE:DESTINATION[:ro]`);
  }
  return bindMount(source, destination, options === '' ? [] : options.split(','), '--volume');
}

const mountKeys = ['type', 'source', 'src', 'destination', 'dst', 'target', 'readonly', 'ro', 'options'];

/** `type=bind,src=/a,dst=/b,ro,options=rbind:nosuid`, as ctr and docker write it; type is `bind` or `tmpfs`. */
export function parseMount(text: string): Mount {
  const values = new Map<string, string>();
  for (const part of text.split(',')) {
    const [key = '', ...rest] = part.split('=');
    if (!mountKeys.includes(key)) {
      const near = nearest(key, mountKeys);
      throw invalidArgument(`flag --mount: unknown key "${key}"${near === undefined ? '' : `; did you mean ${near}?`}`);
    }
    values.set(key, rest.join('='));
  }
  const type = values.get('type') ?? 'bind';
  const source = values.get('source') ?? values.get('src') ?? '';
  const destination = values.get('destination') ?? values.get('dst') ?? values.get('target') ?? '';
  const given = (values.get('options') ?? '').split(':').filter((option) => option !== '');
  const readOnly = ['readonly', 'ro'].some((key) => values.has(key) && values.get(key) !== 'false');
  const options = readOnly ? [...given, 'ro'] : given;
  if (type === 'bind') return bindMount(source, destination, options, '--mount');
  if (type !== 'tmpfs') throw invalidArgument(`flag --mount: type "${type}" is not bind or tmpfs`);
  checkAbsolute(destination, '--mount: destination');
  return { type, source: 'tmpfs', destination, options: ['nosuid', 'nodev', ...options] };
}

function bindMount(source: string, destination: string, options: readonly string[], flag: string): Mount {
  checkAbsolute(source, `${flag}: source`);
  checkAbsolute(destination, `${flag}: destination`);
  const recursive = options.some((option) => option === 'bind' || option === 'rbind') ? [] : ['rbind'];
  const propagation = options.some((option) => /^r?(private|shared|slave)$/.test(option)) ? [] : ['rprivate'];
  return { type: 'bind', source, destination, options: [...recursive, ...propagation, ...options] };
}

function checkAbsolute(value: string, what: string): void {
  if (!path.isAbsolute(value)) throw invalidArgument(`flag ${what} "${value}" is not an absolute path`);
}
