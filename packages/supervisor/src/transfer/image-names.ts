/**
 * The names that an image store of a request gives to what arrives, and those it stands for as a source.
 *
 * What comes from a registry gets the store's own name and its further ones. What comes out of an archive is named by its
 * annotations: `io.containerd.image.name` where it agrees with a prefix of the request, `org.opencontainers.image.ref.name` completed by it.
 */
import type { PartialMessage, transferTypes } from '@gantry/api';
import { notFound, notImplemented } from '@gantry/errors';
import { annotations } from '@gantry/oci';
import type { Descriptor } from '@gantry/oci';
import { expireLabel } from '../gc/labels.ts';
import type { Image, ImageRecords } from '../images/image-records.ts';
import { wireDescriptor } from './progress.ts';

type ImageStore = transferTypes.ImageStore;
type ImageReference = transferTypes.ImageReference;

/** What holds a further name as long as the first one is there. */
const heldByImage = 'containerd.io/gc.bref.image';

/** The records for one image under the store's own names; none when the store has no name. */
export function ownRecords(store: ImageStore, target: Descriptor): PartialMessage<Image>[] {
  const { name, labels } = store;
  const records: PartialMessage<Image>[] = [];
  if (name !== '') records.push({ name, labels, target: wireDescriptor(target) });
  for (const reference of store.extraReferences) {
    if (reference.isPrefix) continue;
    const full = reference.addDigest ? `${reference.name}@${target.digest}` : reference.name;
    // Nobody would ever remove them: they go with the first name.
    const held = name === '' ? {} : { [heldByImage]: name, [expireLabel]: new Date().toISOString() };
    records.push({ name: full, labels: { ...labels, ...held }, target: wireDescriptor(target) });
  }
  return records;
}

/** The records for an image of an archive; none when nothing names it. */
export function archivedRecords(store: ImageStore, target: Descriptor): PartialMessage<Image>[] {
  const { labels } = store;
  const names = store.extraReferences.filter(({ isPrefix }) => isPrefix).flatMap((rule) => namesBy(rule, target));
  return [...new Set(names)].map((name) => ({ name, labels, target: wireDescriptor(target) }));
}

function namesBy(rule: ImageReference, { annotations: given = {}, digest }: Descriptor): string[] {
  const whole = given[annotations.imageName] ?? '';
  // A whole name is never changed: it is taken, or it is not.
  const named = whole === '' ? prefixed(rule, given[annotations.refName] ?? '') : wholly(rule, whole);
  const digested = rule.addDigest && !(rule.skipNamedDigest && named !== '') ? [`${rule.name}@${digest}`] : [];
  return [...(named === '' ? [] : [named]), ...digested];
}

function wholly(rule: ImageReference, name: string): string {
  return prefixed(rule, name) === name ? name : '';
}

/** A tag becomes a name with the prefix; a whole name is taken when it may be anything, or begins with the prefix. */
function prefixed({ name: prefix, allowOverwrite }: ImageReference, ref: string): string {
  if (ref === '' || prefix === '') return '';
  if (!/[/:@]/.test(ref)) return `${prefix}:${ref}`;
  const within = ref === prefix || (ref.startsWith(prefix) && /^[/:@]/.test(ref.slice(prefix.length)));
  return allowOverwrite || within ? ref : '';
}

/** The images that a store of a request stands for as a source. Throws not found. */
export function sourceImages(records: ImageRecords, namespace: string, store: ImageStore): Image[] {
  const { name, extraReferences } = store;
  if (extraReferences.some(({ isPrefix }) => isPrefix)) {
    throw notImplemented('choosing the images of a transfer by a prefix');
  }
  const names = [...(name === '' ? [] : [name]), ...extraReferences.map((reference) => reference.name)];
  if (names.length === 0) throw notFound('image: the source of the transfer names none');
  return names.map((each) => records.get(namespace, each));
}
