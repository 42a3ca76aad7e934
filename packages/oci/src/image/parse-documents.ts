/**
 * Parsers of image documents, which are hostile input.
 *
 * A document that could be read both as a manifest and as an index is refused (CVE-2021-41190), as is one whose
 * `mediaType` member disagrees with what the caller was told (by a descriptor or a Content-Type header).
 */
import { invalidArgument } from '@gantry/errors';
import { parseJson } from '../parse/json.ts';
import type { JsonLimits } from '../parse/json.ts';
import {
  bool,
  integer,
  list,
  members,
  nonEmptyText,
  object,
  oneOf,
  optional,
  quote,
  record,
  refuse,
  text,
  textList,
  textRecord,
  where,
  withDefault,
} from '../parse/parser.ts';
import type { Parser } from '../parse/parser.ts';
import { isDigest } from './digest.ts';
import type { Digest } from './digest.ts';
import type {
  Descriptor,
  HistoryEntry,
  ImageConfig,
  ImageLayout,
  ImageRunConfig,
  Index,
  Manifest,
  Platform,
} from './documents.ts';
import { bareMediaType, isIndexType, isManifestType, mediaTypes } from './media-types.ts';

/** Image documents are small; what is larger is an attack or a mistake. */
export const imageDocumentLimits: JsonLimits = { maximumBytes: 8 * 1024 * 1024, maximumDepth: 64 };

/** Indexes within indexes; nobody nests deeper than this in earnest. Whoever follows indexes counts them. */
export const maximumIndexDepth = 4;

/** Entries of an index, and layers of an image. */
export const maximumChildren = 4096;

const digest: Parser<Digest> = (value, path) => {
  const unsafe = text(value, path);
  if (!isDigest(unsafe)) throw refuse(path, `invalid digest ${quote(unsafe)}`);
  return unsafe;
};

const sizeBytes = integer(0, Number.MAX_SAFE_INTEGER);

const base64 = where(text, (value) =>
  value.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(value) ? undefined : 'must be base64',
);

const platformShape = {
  architecture: withDefault(text, ''),
  os: withDefault(text, ''),
  'os.version': optional(text),
  'os.features': optional(textList),
  variant: optional(text),
};

const descriptor = object<Descriptor>({
  mediaType: nonEmptyText,
  digest,
  size: sizeBytes,
  urls: optional(textList),
  annotations: optional(textRecord),
  data: optional(base64),
  platform: optional(object<Platform>(platformShape)),
  artifactType: optional(text),
});

const schemaVersion: Parser<2> = (value, path) => {
  if (value !== 2) throw refuse(path, 'must be 2');
  return 2;
};

const index = object<Index>({
  schemaVersion,
  mediaType: optional(text),
  artifactType: optional(text),
  manifests: withDefault(list(descriptor), []),
  subject: optional(descriptor),
  annotations: optional(textRecord),
});

const manifest = object<Manifest>({
  schemaVersion,
  mediaType: optional(text),
  artifactType: optional(text),
  config: descriptor,
  layers: withDefault(list(descriptor), []),
  subject: optional(descriptor),
  annotations: optional(textRecord),
});

/** A set, which Go writes as a map from the member to an empty object. */
const keys: Parser<readonly string[]> = (value, path) => Object.keys(record((entry) => entry)(value, path));

const runConfig = object<ImageRunConfig>({
  User: optional(text),
  ExposedPorts: optional(keys),
  Env: optional(textList),
  Entrypoint: optional(textList),
  Cmd: optional(textList),
  Volumes: optional(keys),
  WorkingDir: optional(text),
  Labels: optional(textRecord),
  StopSignal: optional(text),
  ArgsEscaped: optional(bool),
});

const historyEntry = object<HistoryEntry>({
  created: optional(text),
  created_by: optional(text),
  author: optional(text),
  comment: optional(text),
  empty_layer: optional(bool),
});

const noRunConfig: ImageRunConfig = {};

const imageConfig = object<ImageConfig>({
  ...platformShape,
  created: optional(text),
  author: optional(text),
  config: withDefault(runConfig, noRunConfig),
  rootfs: object<ImageConfig['rootfs']>({
    type: oneOf(['layers']),
    diff_ids: withDefault(list(digest), []),
  }),
  history: withDefault(list(historyEntry), []),
});

const layout = object<ImageLayout>({ imageLayoutVersion: oneOf(['1.0.0']) });

/** Refuses a document that has a member which belongs to the other kind, even an empty one. */
function refuseMembers(document: unknown, kind: string, foreign: readonly string[]): void {
  const found = members(document, '');
  const name = foreign.find((member) => Object.hasOwn(found, member));
  if (name !== undefined) throw invalidArgument(`ambiguous document: ${kind} with member ${quote(name)}`);
}

/** `expected` is what a descriptor or a header said; undefined when nothing was said. */
function checkMediaType(
  document: { readonly mediaType?: string },
  expected: string | undefined,
  isKind: (mediaType: string) => boolean,
  kind: string,
): void {
  const told = expected === undefined ? undefined : bareMediaType(expected);
  const own = document.mediaType === '' ? undefined : document.mediaType;
  if (own !== undefined && !isKind(own)) throw invalidArgument(`mediaType: ${quote(own)} is not the type of ${kind}`);
  if (told !== undefined && !isKind(told)) throw invalidArgument(`${quote(told)} is not the type of ${kind}`);
  if (own !== undefined && told !== undefined && own !== told) {
    throw invalidArgument(`mediaType: ${quote(own)} is not ${quote(told)}, as which it is known`);
  }
  const isDocker = told === mediaTypes.dockerManifest || told === mediaTypes.dockerIndex;
  if (isDocker && own === undefined) throw invalidArgument('mediaType: is required');
}

/** Parses a descriptor document on its own. Throws invalid argument naming the JSON path. */
export function parseDescriptor(unsafeDocument: Uint8Array | string): Descriptor {
  return descriptor(parseJson(unsafeDocument, 'descriptor', imageDocumentLimits), '');
}

/** Parses an index or a Docker manifest list; `mediaType` is the type it is known as. Throws invalid argument. */
export function parseIndex(unsafeDocument: Uint8Array | string, mediaType?: string): Index {
  const document = parseJson(unsafeDocument, 'image index', imageDocumentLimits);
  refuseMembers(document, 'index', ['config', 'layers', 'fsLayers']);
  if (!Object.hasOwn(members(document, ''), 'manifests')) throw refuse('manifests', 'is required');
  const parsed = index(document, '');
  checkMediaType(parsed, mediaType, isIndexType, 'an index');
  if (parsed.manifests.length > maximumChildren) throw refuse('manifests', `has more than ${maximumChildren} entries`);
  return parsed;
}

/** Parses an image manifest; `mediaType` is the type it is known as. Throws invalid argument. */
export function parseManifest(unsafeDocument: Uint8Array | string, mediaType?: string): Manifest {
  const document = parseJson(unsafeDocument, 'image manifest', imageDocumentLimits);
  refuseMembers(document, 'manifest', ['manifests', 'fsLayers']);
  const parsed = manifest(document, '');
  checkMediaType(parsed, mediaType, isManifestType, 'a manifest');
  if (parsed.layers.length > maximumChildren) throw refuse('layers', `has more than ${maximumChildren} entries`);
  return parsed;
}

/** Parses an image's config. Absent lists are empty. Throws invalid argument. */
export function parseImageConfig(unsafeDocument: Uint8Array | string): ImageConfig {
  const parsed = imageConfig(parseJson(unsafeDocument, 'image config', imageDocumentLimits), '');
  if (parsed.rootfs.diff_ids.length > maximumChildren)
    throw refuse('rootfs.diff_ids', `has more than ${maximumChildren} entries`);
  return parsed;
}

/** Parses an `oci-layout` file; only version 1.0.0 is known. Throws invalid argument. */
export function parseImageLayout(unsafeDocument: Uint8Array | string): ImageLayout {
  return layout(parseJson(unsafeDocument, 'image layout', imageDocumentLimits), '');
}

/** Throws invalid argument unless the config names one diff id for every layer of the manifest. */
export function checkLayerCount(image: Manifest, config: ImageConfig): void {
  const layers = image.layers.length;
  const diffIds = config.rootfs.diff_ids.length;
  if (layers !== diffIds) throw invalidArgument(`image has ${layers} layers and ${diffIds} diff ids`);
}
