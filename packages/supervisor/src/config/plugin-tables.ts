/**
 * `[plugins."<type>.<id>"]`: what containerd's configuration says of its own plugins, where we have the same thing:
 *
 *     [plugins."io.containerd.service.v1.diff-service"]
 *       default = ["walking"]     differs in the order in which they are asked
 *       sync_fs = false           every layer that was applied is on the disk before the answer
 *     [plugins."io.containerd.image-verifier.v1.bindir"]
 *       bin_dir = "/opt/containerd/image-verifier/bin"
 *       max_verifiers = 10
 *       per_verifier_timeout = "10s"
 */
import { invalidArgument } from '@gantry/errors';
import { formatDuration, parseDurationMs } from '../duration.ts';
import { fieldsOf, textOf, textsOf, truthOf } from './fields.ts';

const diffService = 'io.containerd.service.v1.diff-service';
const imageVerifier = 'io.containerd.image-verifier.v1.bindir';

export interface DiffConfig {
  /** Differs by name: the first that knows a layer's type has it. */
  readonly order: readonly string[];
  /** Whether every layer that was applied is made durable. */
  readonly syncFs: boolean;
}

export interface ImageVerifierConfig {
  /** Every program in it is asked before a pull; absent: none is. */
  readonly directory: string;
  /** How many are asked; -1: all. */
  readonly maximum: number;
  /** What one may take. */
  readonly timeoutMs: number;
}

export interface PluginTables {
  readonly diff: DiffConfig;
  readonly imageVerifier: ImageVerifierConfig;
}

export const defaultPluginTables: PluginTables = {
  diff: { order: ['walking'], syncFs: false },
  imageVerifier: { directory: '/opt/containerd/image-verifier/bin', maximum: 10, timeoutMs: 10_000 },
};

/** What the tables say, and the names of those that nobody here understands. Throws invalid argument naming the key. */
export function parsePluginTables(
  tables: Readonly<Record<string, unknown>>,
  place: string,
): PluginTables & { readonly unknown: readonly string[] } {
  const at = (name: string): string => `${place}.${JSON.stringify(name)}`;
  return {
    diff: parseDiff(tables[diffService] ?? {}, at(diffService)),
    imageVerifier: parseVerifier(tables[imageVerifier] ?? {}, at(imageVerifier)),
    unknown: Object.keys(tables).filter((name) => name !== diffService && name !== imageVerifier),
  };
}

function parseDiff(value: unknown, at: string): DiffConfig {
  const standard = defaultPluginTables.diff;
  const fields = fieldsOf(value, at, ['default', 'sync_fs']);
  const order = textsOf(fields['default'] ?? standard.order, `${at}.default`);
  if (order.length === 0) throw invalidArgument(`${at}.default: must name a differ`);
  return { order, syncFs: truthOf(fields['sync_fs'] ?? standard.syncFs, `${at}.sync_fs`) };
}

function parseVerifier(value: unknown, at: string): ImageVerifierConfig {
  const standard = defaultPluginTables.imageVerifier;
  const fields = fieldsOf(value, at, ['bin_dir', 'max_verifiers', 'per_verifier_timeout']);
  const maximum = fields['max_verifiers'] ?? standard.maximum;
  if (typeof maximum !== 'number' || !Number.isSafeInteger(maximum)) {
    throw invalidArgument(`${at}.max_verifiers: must be a whole number`);
  }
  const text = textOf(
    fields['per_verifier_timeout'] ?? formatDuration(standard.timeoutMs),
    `${at}.per_verifier_timeout`,
  );
  const timeoutMs = parseDurationMs(text);
  if (timeoutMs === undefined || timeoutMs <= 0) {
    throw invalidArgument(`${at}.per_verifier_timeout: ${JSON.stringify(text)} is not a duration like "10s"`);
  }
  return { directory: textOf(fields['bin_dir'] ?? standard.directory, `${at}.bin_dir`), maximum, timeoutMs };
}

/** The TOML form, with a line of explanation a key. */
export function formatPluginTables({ diff, imageVerifier: verifier }: PluginTables): string[] {
  return [
    `[plugins.${JSON.stringify(diffService)}]`,
    '# Differs, of our own ("walking") and of [proxy_plugins], in the order in which they are asked.',
    `default = ${JSON.stringify(diff.order)}`,
    '# Whether every layer that was applied is on the disk before the answer.',
    `sync_fs = ${diff.syncFs}`,
    '',
    `[plugins.${JSON.stringify(imageVerifier)}]`,
    '# Every program in this directory is asked before an image is pulled by the Transfer service; none, when it is absent.',
    `bin_dir = ${JSON.stringify(verifier.directory)}`,
    '# How many of them are asked; -1: all.',
    `max_verifiers = ${verifier.maximum}`,
    `per_verifier_timeout = "${formatDuration(verifier.timeoutMs)}"`,
    '',
  ];
}
