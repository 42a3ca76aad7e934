/**
 * The configuration: a TOML file that may be absent, below the flags of the command line.
 *
 * An unknown key is a warning with its path, a known key of the wrong type is an error with its path: silence about
 * either has cost users of this field days.
 */
import { readFile } from 'node:fs/promises';
import { invalidArgument, messageOf, wrap } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import { parse } from 'smol-toml';
import { formatDuration, parseDurationMs } from '../duration.ts';
import { defaultGcConfig } from '../gc/pace.ts';
import type { GcConfig } from '../gc/pace.ts';
import { defaultPluginTables, formatPluginTables, parsePluginTables } from './plugin-tables.ts';
import type { DiffConfig, ImageVerifierConfig } from './plugin-tables.ts';
import { formatProxyPlugins, parseProxyPlugins, proxiesOf } from './proxy-plugins.ts';
import type { ProxyPlugin } from './proxy-plugins.ts';
import { formatStreamProcessors, parseStreamProcessors } from './stream-processors.ts';
import type { StreamProcessorConfig } from './stream-processors.ts';

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
export type LogLevel = (typeof logLevels)[number];

export const sharingPolicies = ['shared', 'isolated'] as const;
export type SharingPolicy = (typeof sharingPolicies)[number];

export interface Config {
  /** The gRPC socket; the shims' event socket is beside it with `.ttrpc` appended. */
  readonly address: string;
  /** What survives a reboot: metadata, blobs, snapshots. */
  readonly root: string;
  /** What does not: bundles and shim sockets. */
  readonly state: string;
  readonly logLevel: LogLevel;
  /** Group that may use the socket besides root; the socket is 0660 then. undefined: 0600. */
  readonly socketGid: number | undefined;
  /** How many shims are kept ready for the next containers. */
  readonly spareShims: number;
  /** Runtime names that start another shim than theirs: a program's path, its name, or a runtime name. */
  readonly runtimes: ReadonlyMap<string, string>;
  /** OCI runtimes by what clients call them in the option BinaryName: a program's path or name; empty is our own. */
  readonly binaries: ReadonlyMap<string, string>;
  /** Where `hosts.toml` files of registries are looked for. */
  readonly registryDirectories: readonly string[];
  /** Layers that registries do not hold are fetched from the addresses that the image names. */
  readonly foreignLayers: boolean;
  /** Layers of one pull, and blobs of one push, that are under way at the same time. */
  readonly concurrentDownloads: number;
  readonly concurrentUploads: number;
  /** Who may have a blob of another namespace by its digest alone: everybody, or with namespaces that say so. */
  readonly sharingPolicy: SharingPolicy;
  /** The pace of the garbage collector. */
  readonly gc: GcConfig;
  /** How often containers with a restart label are looked after; 0: never. */
  readonly restartIntervalMs: number;
  /** Plugins in other processes. */
  readonly proxyPlugins: readonly ProxyPlugin[];
  /** Who makes layers of trees and trees of layers. */
  readonly diff: DiffConfig;
  /** Programs that make layers of other media types readable. */
  readonly streamProcessors: readonly StreamProcessorConfig[];
  /** Programs that are asked before an image is pulled. */
  readonly imageVerifier: ImageVerifierConfig;
  /** Mount options of overlays besides those that this kernel needs. */
  readonly overlayOptions: readonly string[];
  /** Whether clients may give an image's files other owners one by one where the kernel cannot map their ids. */
  readonly slowChown: boolean;
}

export const defaultConfig: Config = {
  address: '/run/gantry/gantry.sock',
  root: '/var/lib/gantry',
  state: '/run/gantry',
  logLevel: 'info',
  socketGid: undefined,
  spareShims: 2,
  runtimes: new Map(),
  binaries: new Map(),
  registryDirectories: ['/etc/gantry/certs.d', '/etc/containerd/certs.d'],
  foreignLayers: true,
  concurrentDownloads: 3,
  concurrentUploads: 3,
  sharingPolicy: 'shared',
  gc: defaultGcConfig,
  restartIntervalMs: 10_000,
  proxyPlugins: [],
  ...defaultPluginTables,
  streamProcessors: [],
  overlayOptions: [],
  slowChown: false,
};

/** What a file said, and what in it nobody understands. */
export interface LoadedConfig {
  readonly config: Config;
  readonly warnings: readonly string[];
}

/** Reads the file over the defaults; an absent file is an empty one. Throws invalid argument naming file and key. */
export async function loadConfig(file: string): Promise<LoadedConfig> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return { config: defaultConfig, warnings: [] };
    throw wrap(err, `reading ${file}`);
  }
  return parseConfig(text, file);
}

/** `source` names the text in errors and warnings. */
export function parseConfig(text: string, source: string): LoadedConfig {
  let table: Readonly<Record<string, unknown>>;
  try {
    table = parse(text);
  } catch (err) {
    throw invalidArgument(`${source}: ${messageOf(err).split('\n')[0] ?? ''}`, {}, err);
  }
  const reader = new TableReader(table, source);
  const plugins = parsePluginTables(reader.table('plugins'), `${source}: plugins`);
  const config: Config = {
    root: reader.text('root') ?? defaultConfig.root,
    state: reader.text('state') ?? defaultConfig.state,
    address: reader.text('grpc.address') ?? defaultConfig.address,
    socketGid: reader.integer('grpc.gid') ?? defaultConfig.socketGid,
    spareShims: parseSpares(reader.integer('shim.spares') ?? defaultConfig.spareShims, `${source}: shim.spares`),
    runtimes: reader.texts('runtimes'),
    binaries: reader.texts('binaries'),
    registryDirectories: reader.text('registry.config_path')?.split(':') ?? defaultConfig.registryDirectories,
    foreignLayers: reader.boolean('registry.foreign_layers') ?? defaultConfig.foreignLayers,
    concurrentDownloads: reader.count('registry.max_concurrent_downloads') ?? defaultConfig.concurrentDownloads,
    concurrentUploads: reader.count('registry.max_concurrent_uploads') ?? defaultConfig.concurrentUploads,
    sharingPolicy: parseSharingPolicy(reader.text('content.sharing_policy'), `${source}: content.sharing_policy`),
    restartIntervalMs: reader.durationMs('restart.interval') ?? defaultConfig.restartIntervalMs,
    gc: {
      pauseThreshold: parseShare(reader.number('gc.pause_threshold'), `${source}: gc.pause_threshold`),
      deletionThreshold: reader.integer('gc.deletion_threshold') ?? defaultGcConfig.deletionThreshold,
      mutationThreshold: reader.integer('gc.mutation_threshold') ?? defaultGcConfig.mutationThreshold,
      scheduleDelayMs: reader.durationMs('gc.schedule_delay') ?? defaultGcConfig.scheduleDelayMs,
      startupDelayMs: reader.durationMs('gc.startup_delay') ?? defaultGcConfig.startupDelayMs,
    },
    overlayOptions: reader.list('overlayfs.mount_options') ?? defaultConfig.overlayOptions,
    slowChown: reader.flag('overlayfs.slow_chown') ?? defaultConfig.slowChown,
    proxyPlugins: parseProxyPlugins(reader.table('proxy_plugins'), `${source}: proxy_plugins`),
    diff: plugins.diff,
    imageVerifier: plugins.imageVerifier,
    streamProcessors: parseStreamProcessors(reader.table('stream_processors'), `${source}: stream_processors`),
    logLevel: parseLogLevel(reader.text('debug.level') ?? defaultConfig.logLevel, `${source}: debug.level`),
  };
  checkDiffers(config, source);
  if (proxiesOf(config.proxyPlugins, 'content').length > 1) {
    throw invalidArgument(`${source}: proxy_plugins: there can be one of type "content"`);
  }
  const unknown = [...reader.unknownKeys(), ...plugins.unknown.map((name) => `plugins.${JSON.stringify(name)}`)];
  return { config, warnings: unknown.map((key) => `${source}: unknown key ${key} is ignored`) };
}

/** Every differ that is to be asked must be there. */
function checkDiffers({ diff, proxyPlugins }: Config, source: string): void {
  const there = ['walking', ...proxiesOf(proxyPlugins, 'diff').map(({ name }) => name)];
  const missing = diff.order.find((name) => !there.includes(name));
  if (missing === undefined) return;
  throw invalidArgument(
    `${source}: needed differ not loaded: ${JSON.stringify(missing)} is not one of ${there.join(', ')}`,
  );
}

/** Each spare holds a process and about two megabytes. */
const maxSpares = 256;

function parseSpares(count: number, what: string): number {
  if (count > maxSpares) throw invalidArgument(`${what}: ${count} is more than ${maxSpares}`);
  return count;
}

function parseSharingPolicy(text: string | undefined, what: string): SharingPolicy {
  if (text === undefined) return defaultConfig.sharingPolicy;
  const policy = sharingPolicies.find((name) => name === text);
  if (policy !== undefined) return policy;
  throw invalidArgument(`${what}: ${JSON.stringify(text)} is not one of ${sharingPolicies.join(', ')}`);
}

function parseShare(share = defaultGcConfig.pauseThreshold, what: string): number {
  if (share > 0 && share <= 0.5) return share;
  throw invalidArgument(`${what}: ${share} is not more than 0 and at most 0.5`);
}

export function parseLogLevel(text: string, what: string): LogLevel {
  const level = logLevels.find((name) => name === text);
  if (level === undefined)
    throw invalidArgument(`${what}: ${JSON.stringify(text)} is not one of ${logLevels.join(', ')}`);
  return level;
}

/** The TOML form of a configuration, with a line of explanation a key. */
export function formatConfig(config: Config): string {
  return [
    '# gantryd reads this file from /etc/gantry/config.toml; flags win over it.',
    '',
    '# What survives a reboot: metadata, blobs, snapshots.',
    `root = ${JSON.stringify(config.root)}`,
    '# What does not: bundles and shim sockets.',
    `state = ${JSON.stringify(config.state)}`,
    '',
    '[grpc]',
    '# The containerd API; shims send their events to the same path with .ttrpc appended.',
    `address = ${JSON.stringify(config.address)}`,
    '# A group that may use the socket besides root. Access to the socket is access as root.',
    config.socketGid === undefined ? '# gid = 0' : `gid = ${config.socketGid}`,
    '',
    '[shim]',
    '# How many shims are kept ready for the next containers; each holds about two megabytes. 0: made when needed.',
    `spares = ${config.spareShims}`,
    '',
    '[runtimes]',
    '# Runtime names and the shims they start: the path or name of a program, or another runtime name. io.containerd.gantry.v1',
    "# and io.containerd.runc.v2 start gantry's own; any other name X.NAME.VERSION starts containerd-shim-NAME-VERSION.",
    '# "io.containerd.runc.v2" = "/usr/bin/containerd-shim-runc-v2"',
    ...[...config.runtimes].map(([name, shim]) => `${JSON.stringify(name)} = ${JSON.stringify(shim)}`),
    '',
    '[binaries]',
    "# OCI runtimes, for containers in gantry's shim: what the option BinaryName says, and the program that is meant. Without a",
    '# line here "runc" is the runtime in the shim, and any other name or path is that program.',
    '# runc = "/usr/sbin/runc"',
    ...[...config.binaries].map(([name, program]) => `${JSON.stringify(name)} = ${JSON.stringify(program)}`),
    '',
    '[registry]',
    '# Directories with a directory a registry (HOST_PORT_, HOST:PORT, _default) that has a hosts.toml or certificates.',
    `config_path = ${JSON.stringify(config.registryDirectories.join(':'))}`,
    '',
    '# Layers that no registry holds (an image names their addresses) are fetched from there, without credentials.',
    `foreign_layers = ${config.foreignLayers}`,
    '# Layers of one pull, and blobs of one push, that are under way at the same time.',
    `max_concurrent_downloads = ${config.concurrentDownloads}`,
    `max_concurrent_uploads = ${config.concurrentUploads}`,
    '',
    '[content]',
    '# "shared": a blob of any namespace is another\'s by its digest, without being sent again. "isolated": only that of a',
    '# namespace with the label containerd.io/namespace.shareable=true. It is stored once in any case.',
    `sharing_policy = ${JSON.stringify(config.sharingPolicy)}`,
    '',
    '[gc]',
    '# The largest share of its time that the daemon spends collecting garbage, up to 0.5.',
    `pause_threshold = ${config.gc.pauseThreshold}`,
    '# After so many deletions a collection does not wait for the pause to be over; 0: it always does.',
    `deletion_threshold = ${config.gc.deletionThreshold}`,
    '# After so many changes of any kind there is a collection; 0: only after deletions.',
    `mutation_threshold = ${config.gc.mutationThreshold}`,
    '# From the deletion to the collection, and from the start of the daemon to the first one.',
    `schedule_delay = "${formatDuration(config.gc.scheduleDelayMs)}"`,
    `startup_delay = "${formatDuration(config.gc.startupDelayMs)}"`,
    '',
    '[overlayfs]',
    '# Mount options besides those that this kernel needs. "volatile": what containers write need not survive a power cut.',
    `mount_options = ${JSON.stringify(config.overlayOptions)}`,
    '# Where the kernel cannot map the ids of layers: copy an image and change its owners for a user namespace, instead of refusing.',
    `slow_chown = ${config.slowChown}`,
    '',
    '[restart]',
    '# How often containers with the label containerd.io/restart.status are looked after; 0s: never.',
    `interval = "${formatDuration(config.restartIntervalMs)}"`,
    '',
    ...formatPluginTables(config),
    "# Plugins in other processes, as in containerd's configuration: snapshot, content, diff, sandbox.",
    '# [proxy_plugins.stargz]',
    '# type = "snapshot"',
    '# address = "/run/containerd-stargz-grpc/containerd-stargz-grpc.sock"',
    '',
    ...formatProxyPlugins(config.proxyPlugins),
    '# Programs that make layers of other media types readable: the blob on standard input, what they return on standard output.',
    '# [stream_processors."io.containerd.ocicrypt.decoder.v1.tar.gzip"]',
    '# accepts = ["application/vnd.oci.image.layer.v1.tar+gzip+encrypted"]',
    '# returns = "application/vnd.oci.image.layer.v1.tar+gzip"',
    '# path = "ctd-decoder"',
    '# args = ["--decryption-keys-path", "/etc/containerd/ocicrypt/keys"]',
    '',
    ...formatStreamProcessors(config.streamProcessors),
    '[debug]',
    `# ${logLevels.join(', ')}`,
    `level = ${JSON.stringify(config.logLevel)}`,
    '',
  ].join('\n');
}

function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/** Reads dotted keys out of a parsed table and remembers which were asked for. */
class TableReader {
  readonly #table: Readonly<Record<string, unknown>>;
  readonly #source: string;
  readonly #known = new Set<string>(['version']);

  constructor(table: Readonly<Record<string, unknown>>, source: string) {
    this.#table = table;
    this.#source = source;
  }

  text(key: string): string | undefined {
    const value = this.#get(key);
    if (value === undefined || typeof value === 'string') return value;
    throw invalidArgument(`${this.#source}: ${key}: must be text`);
  }

  /** A table of texts, under names of any kind. */
  texts(key: string): ReadonlyMap<string, string> {
    const table = this.#get(key) ?? {};
    if (!isTable(table)) throw invalidArgument(`${this.#source}: ${key}: must be a table`);
    return new Map(
      Object.entries(table).map(([name, value]) => {
        this.#known.add(`${key}.${name}`);
        if (typeof value === 'string') return [name, value];
        throw invalidArgument(`${this.#source}: ${key}.${JSON.stringify(name)}: must be text`);
      }),
    );
  }

  /** A list of texts. */
  list(key: string): readonly string[] | undefined {
    const value = this.#get(key);
    if (value === undefined) return undefined;
    if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value;
    throw invalidArgument(`${this.#source}: ${key}: must be a list of texts`);
  }

  /** A table that somebody else reads, and says what in it nobody understands. */
  table(key: string): Readonly<Record<string, unknown>> {
    const table = this.#get(key) ?? {};
    if (!isTable(table)) throw invalidArgument(`${this.#source}: ${key}: must be a table`);
    return table;
  }

  flag(key: string): boolean | undefined {
    const value = this.#get(key);
    if (value === undefined || typeof value === 'boolean') return value;
    throw invalidArgument(`${this.#source}: ${key}: must be true or false`);
  }

  integer(key: string): number | undefined {
    const value = this.#get(key);
    if (value === undefined) return undefined;
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
    throw invalidArgument(`${this.#source}: ${key}: must be a whole number`);
  }

  /** A whole number above 0. */
  count(key: string): number | undefined {
    const value = this.integer(key);
    if (value !== 0) return value;
    throw invalidArgument(`${this.#source}: ${key}: must be more than 0`);
  }

  boolean(key: string): boolean | undefined {
    const value = this.#get(key);
    if (value === undefined || typeof value === 'boolean') return value;
    throw invalidArgument(`${this.#source}: ${key}: must be true or false`);
  }

  number(key: string): number | undefined {
    const value = this.#get(key);
    if (value === undefined) return undefined;
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    throw invalidArgument(`${this.#source}: ${key}: must be a number`);
  }

  durationMs(key: string): number | undefined {
    const text = this.text(key);
    if (text === undefined) return undefined;
    const ms = parseDurationMs(text);
    if (ms !== undefined && ms >= 0) return ms;
    throw invalidArgument(`${this.#source}: ${key}: ${JSON.stringify(text)} is not a duration like "100ms"`);
  }

  unknownKeys(table = this.#table, prefix = ''): string[] {
    return Object.entries(table).flatMap(([name, value]) => {
      const key = `${prefix}${name}`;
      if (this.#known.has(key)) return [];
      if (isTable(value)) return this.unknownKeys(value, `${key}.`);
      return [key];
    });
  }

  #get(key: string): unknown {
    this.#known.add(key);
    let value: unknown = this.#table;
    for (const part of key.split('.')) {
      if (typeof value !== 'object' || value === null) return undefined;
      value = (value as Record<string, unknown>)[part];
    }
    return value;
  }
}
