/** Changes of an image's config, given as instructions of a Dockerfile. */
import { invalidArgument } from '@gantry/errors';
import type { RunConfigChange } from '@gantry/client';

type Run = Record<string, unknown>;

const instructions: Readonly<Record<string, (rest: string) => RunConfigChange>> = {
  CMD: (rest) => set('Cmd', command(rest)),
  ENTRYPOINT: (rest) => set('Entrypoint', command(rest)),
  USER: (rest) => set('User', rest),
  WORKDIR: (rest) => set('WorkingDir', rest),
  STOPSIGNAL: (rest) => set('StopSignal', rest),
  ENV: (rest) => (run) => {
    for (const [name, value] of assignments(rest))
      run['Env'] = [...without(listOf(run, 'Env'), name), `${name}=${value}`];
  },
  LABEL: (rest) => (run) => {
    run['Labels'] = { ...objectOf(run, 'Labels'), ...Object.fromEntries(assignments(rest)) };
  },
  EXPOSE: (rest) => (run) => {
    const ports = words(rest).map((port): [string, object] => [port.includes('/') ? port : `${port}/tcp`, {}]);
    run['ExposedPorts'] = { ...objectOf(run, 'ExposedPorts'), ...Object.fromEntries(ports) };
  },
  VOLUME: (rest) => (run) => {
    const paths = (jsonList(rest) ?? words(rest)).map((path): [string, object] => [path, {}]);
    run['Volumes'] = { ...objectOf(run, 'Volumes'), ...Object.fromEntries(paths) };
  },
};

/** `CMD ["sleep", "1"]`, `ENV A=b "C=d e"`. Throws invalid argument for another instruction or an empty one. */
export function parseImageChange(text: string): RunConfigChange {
  const [, name = '', rest = ''] = /^\s*(\S+)\s*(.*?)\s*$/s.exec(text) ?? [];
  const make = Object.hasOwn(instructions, name.toUpperCase()) ? instructions[name.toUpperCase()] : undefined;
  if (make === undefined) {
    throw invalidArgument(`--change ${JSON.stringify(text)}: not one of ${Object.keys(instructions).join(', ')}`);
  }
  if (rest === '') throw invalidArgument(`--change ${JSON.stringify(text)}: nothing follows ${name}`);
  return make(rest);
}

function set(member: string, value: unknown): RunConfigChange {
  return (run) => {
    run[member] = value;
  };
}

/** A JSON list is the words themselves; anything else is for the shell. */
function command(rest: string): string[] {
  return jsonList(rest) ?? ['/bin/sh', '-c', rest];
}

function jsonList(text: string): string[] | undefined {
  if (!text.startsWith('[')) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  return Array.isArray(value) && value.every((item) => typeof item === 'string') ? value : undefined;
}

/** Separated by blanks; quotes keep blanks together. */
function words(text: string): string[] {
  const found = text.matchAll(/(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|[^\s"']+)+/g);
  return [...found].map(([word]) =>
    word.replaceAll(
      /"((?:[^"\\]|\\.)*)"|'([^']*)'/g,
      (_all, double?: string, single?: string) => double?.replaceAll(/\\(.)/g, '$1') ?? single ?? '',
    ),
  );
}

/** `A=b C=d`, or the old `A b`. */
function assignments(rest: string): [string, string][] {
  const all = words(rest);
  if (all[0]?.includes('=') === false && all.length > 1) return [[all[0], all.slice(1).join(' ')]];
  return all.map((word): [string, string] => {
    const equals = word.indexOf('=');
    if (equals <= 0) throw invalidArgument(`${JSON.stringify(word)} is not NAME=VALUE`);
    return [word.slice(0, equals), word.slice(equals + 1)];
  });
}

function listOf(run: Run, member: string): string[] {
  const value = run[member];
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : [];
}

function without(environment: readonly string[], name: string): string[] {
  return environment.filter((entry) => !entry.startsWith(`${name}=`));
}

function objectOf(run: Run, member: string): object {
  const value = run[member];
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
}
