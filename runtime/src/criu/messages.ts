/**
 * criu's own words: the part of its RPC (criu.org/RPC, `rpc.proto`, protocol buffers 2) that checkpoint and restore of a
 * container need. The runtime has no protobuf library on purpose: this is the whole of it.
 */
import { internal } from '@gantry/errors';

/** `criu_req_type`. */
export const requestTypes = { dump: 1, restore: 2, preDump: 4, notify: 6, featureCheck: 9 } as const;
export type RequestType = keyof typeof requestTypes;

/** `criu_cg_mode`. */
export const cgroupModes = { ignore: 0, none: 1, props: 2, soft: 3, full: 4, strict: 5 } as const;
export type CgroupsMode = keyof typeof cgroupModes;

/** `ext_mount_map`: on dump place → name, on restore name → source. */
export interface ExternalMount {
  readonly key: string;
  readonly value: string;
}

/** `inherit_fd`: what has this name in the images is this descriptor of criu's. */
export interface InheritedFd {
  readonly key: string;
  readonly fd: number;
}

/** `criu_opts`, under the names of the protocol. What is absent is not sent. */
export interface CriuOptions {
  readonly imagesDirFd: number;
  readonly pid?: number;
  readonly leaveRunning?: boolean;
  readonly extUnixSk?: boolean;
  readonly tcpEstablished?: boolean;
  readonly evasiveDevices?: boolean;
  readonly shellJob?: boolean;
  readonly fileLocks?: boolean;
  readonly logLevel?: number;
  readonly logFile?: string;
  readonly pageServer?: { readonly address: string; readonly port: number };
  readonly notifyScripts?: boolean;
  readonly root?: string;
  readonly parentImg?: string;
  readonly trackMem?: boolean;
  readonly autoDedup?: boolean;
  readonly workDirFd?: number;
  readonly linkRemap?: boolean;
  readonly extMnt?: readonly ExternalMount[];
  readonly manageCgroups?: boolean;
  readonly cgRoot?: readonly { readonly controller?: string; readonly path: string }[];
  readonly rstSibling?: boolean;
  readonly inheritFd?: readonly InheritedFd[];
  readonly manageCgroupsMode?: CgroupsMode;
  readonly external?: readonly string[];
  /** CLONE_NEW* bits. */
  readonly emptyNs?: number;
  readonly joinNs?: readonly { readonly ns: string; readonly file: string }[];
  readonly freezeCgroup?: string;
  readonly tcpSkipInFlight?: boolean;
  readonly lazyPages?: boolean;
  readonly orphanPtsMaster?: boolean;
  readonly configFile?: string;
  readonly lsmProfile?: string;
  readonly lsmMountContext?: string;
}

export interface CriuRequest {
  readonly type: RequestType;
  readonly options?: CriuOptions;
  /** Answer to a notification. */
  readonly notifySuccess?: boolean;
  /** What a feature check asks about. */
  readonly features?: readonly CriuFeature[];
}

/** `criu_features`, by field number. */
const featureFields = { memTrack: 1, lazyPages: 2 } as const;
export type CriuFeature = keyof typeof featureFields;

export interface CriuResponse {
  /** `criu_req_type` as a number: criu may answer with one that we never send. */
  readonly type: number;
  readonly success: boolean;
  readonly errno: number;
  /** Why, where criu says so; empty otherwise. */
  readonly message: string;
  /** Pid of the restored process, in our pid namespace; 0 in other answers. */
  readonly restoredPid: number;
  /** A step that criu tells of and waits for. */
  readonly notify: { readonly script: string; readonly pid: number } | undefined;
  readonly features: ReadonlySet<CriuFeature>;
}

/** What criu calls a type in its own messages. */
export function typeName(type: number): string {
  const names = Object.entries(requestTypes).find(([, number]) => number === type);
  return names === undefined ? String(type) : names[0].replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
}

export function encodeRequest({ type, options, notifySuccess, features }: CriuRequest): Buffer {
  const out = new Fields();
  out.number(1, requestTypes[type]);
  if (options !== undefined) out.message(2, encodeOptions(options));
  if (notifySuccess !== undefined) out.flag(3, notifySuccess);
  if (features !== undefined) {
    const asked = new Fields();
    for (const feature of features) asked.flag(featureFields[feature], true);
    out.message(5, asked);
  }
  return out.bytes();
}

function encodeOptions(options: CriuOptions): Fields {
  const out = new Fields();
  out.number(1, options.imagesDirFd);
  out.number(2, options.pid);
  out.flag(3, options.leaveRunning);
  out.flag(4, options.extUnixSk);
  out.flag(5, options.tcpEstablished);
  out.flag(6, options.evasiveDevices);
  out.flag(7, options.shellJob);
  out.flag(8, options.fileLocks);
  out.number(9, options.logLevel);
  out.text(10, options.logFile);
  const { pageServer } = options;
  if (pageServer !== undefined) out.message(11, pair(pageServer.address, pageServer.port));
  out.flag(12, options.notifyScripts);
  out.text(13, options.root);
  out.text(14, options.parentImg);
  out.flag(15, options.trackMem);
  out.flag(16, options.autoDedup);
  out.number(17, options.workDirFd);
  out.flag(18, options.linkRemap);
  for (const { key, value } of options.extMnt ?? []) out.message(23, pair(key, value));
  out.flag(24, options.manageCgroups);
  for (const { controller, path } of options.cgRoot ?? []) out.message(25, pair(controller, path));
  out.flag(26, options.rstSibling);
  for (const { key, fd } of options.inheritFd ?? []) out.message(27, pair(key, fd));
  const { manageCgroupsMode: mode } = options;
  out.number(34, mode === undefined ? undefined : cgroupModes[mode]);
  for (const name of options.external ?? []) out.text(37, name);
  out.number(38, options.emptyNs);
  for (const { ns, file } of options.joinNs ?? []) out.message(39, pair(ns, file));
  out.text(44, options.freezeCgroup);
  out.flag(46, options.tcpSkipInFlight);
  out.flag(48, options.lazyPages);
  out.flag(50, options.orphanPtsMaster);
  out.text(51, options.configFile);
  out.text(53, options.lsmProfile);
  out.text(63, options.lsmMountContext);
  return out;
}

/** Most of the small messages: field 1 a text, field 2 a text or a number. */
function pair(first: string | undefined, second: string | number): Fields {
  const out = new Fields();
  out.text(1, first);
  if (typeof second === 'number') out.number(2, second);
  else out.text(2, second);
  return out;
}

/** Throws internal for what is no answer of criu's. */
export function decodeResponse(unsafeBytes: Buffer): CriuResponse {
  const fields = readFields(unsafeBytes);
  const notify = messageIn(fields, 5);
  const features = messageIn(fields, 8);
  const known = Object.entries(featureFields).filter(
    ([, field]) => features !== undefined && numberIn(features, field) === 1,
  );
  return {
    type: numberIn(fields, 1),
    success: numberIn(fields, 2) === 1,
    errno: numberIn(fields, 7),
    message: textIn(fields, 9),
    restoredPid: numberIn(messageIn(fields, 4) ?? [], 1),
    notify: notify === undefined ? undefined : { script: textIn(notify, 1), pid: numberIn(notify, 2) },
    features: new Set(known.map(([name]) => name as CriuFeature)),
  };
}

/** A message that is being written. Numbers are not negative. */
class Fields {
  readonly #parts: Buffer[] = [];

  number(field: number, value: number | undefined): void {
    if (value !== undefined) this.#parts.push(varint(field * 8), varint(value));
  }

  flag(field: number, value: boolean | undefined): void {
    if (value !== undefined) this.number(field, value ? 1 : 0);
  }

  text(field: number, value: string | undefined): void {
    if (value !== undefined) this.#block(field, Buffer.from(value));
  }

  message(field: number, value: Fields): void {
    this.#block(field, value.bytes());
  }

  #block(field: number, bytes: Buffer): void {
    this.#parts.push(varint(field * 8 + 2), varint(bytes.length), bytes);
  }

  bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  bytes.push(rest);
  return Buffer.from(bytes);
}

interface Field {
  readonly field: number;
  readonly value: bigint | Buffer;
}

function readFields(bytes: Buffer): Field[] {
  const fields: Field[] = [];
  let at = 0;
  const next = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined || shift > 63n) throw malformed();
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = Number(next());
    const kind = tag % 8;
    const field = Math.floor(tag / 8);
    if (kind === 0) {
      fields.push({ field, value: BigInt.asIntN(64, next()) });
      continue;
    }
    // The protocol has neither fixed numbers in its answers nor groups.
    if (kind !== 2) throw malformed();
    const length = Number(next());
    if (at + length > bytes.length) throw malformed();
    fields.push({ field, value: bytes.subarray(at, at + length) });
    at += length;
  }
  return fields;
}

function malformed(): Error {
  return internal('criu: malformed answer');
}

function find(fields: readonly Field[], wanted: number): bigint | Buffer | undefined {
  return fields.findLast(({ field }) => field === wanted)?.value;
}

function numberIn(fields: readonly Field[], wanted: number): number {
  const value = find(fields, wanted) ?? 0n;
  if (typeof value !== 'bigint') throw malformed();
  return Number(value);
}

function textIn(fields: readonly Field[], wanted: number): string {
  const value = find(fields, wanted) ?? '';
  if (typeof value === 'bigint') throw malformed();
  return value.toString();
}

function messageIn(fields: readonly Field[], wanted: number): Field[] | undefined {
  const value = find(fields, wanted);
  if (typeof value === 'bigint') throw malformed();
  return value === undefined ? undefined : readFields(value);
}
