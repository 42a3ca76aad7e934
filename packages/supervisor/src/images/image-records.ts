/**
 * Image records: names of what is in the content store. A record keeps the media type, digest, size and annotations of its
 * target. Every change is announced, and what it may have made garbage is looked at soon.
 */
import { checkLabels, images, timestampNow } from '@gantry/api';
import type { PartialMessage, wellKnown } from '@gantry/api';
import { alreadyExists, invalidArgument, isCode, notFound, wrap } from '@gantry/errors';
import { isDigest } from '@gantry/oci';
import { addLeaseResource, keys, leaseResourceTypes, presentLabels } from '@gantry/store';
import type { Reader, Store } from '@gantry/store';
import type { Publisher } from '../events/exchange.ts';
import { maskedEntries, parseMask } from '../field-mask.ts';
import type { GarbageCollector } from '../gc/collector.ts';
import { expireLabel } from '../gc/labels.ts';
import { ensureNamespace } from '../services/namespace-records.ts';

export interface ImageRecordsComponents {
  readonly store: Store;
  readonly events: Publisher;
  readonly gc: Pick<GarbageCollector, 'schedule' | 'run'>;
}

export type Image = images.Image;

const maskFields = ['labels', 'target', 'annotations'] as const;
const maskMaps = ['labels', 'annotations'] as const;
type MaskField = (typeof maskFields)[number];

/** What a change is made at when not now; and the lease that holds an image with an expiry. */
export interface ChangeOptions {
  readonly at?: wellKnown.Timestamp | undefined;
  readonly lease?: string | undefined;
}

export class ImageRecords {
  readonly #components: ImageRecordsComponents;

  constructor(components: ImageRecordsComponents) {
    this.#components = components;
  }

  /** Throws not found. */
  get(namespace: string, name: string): Image {
    return readImage(this.#components.store, namespace, name);
  }

  /** In the order of the names. */
  *list(namespace: string): Generator<Image> {
    for (const { value } of this.#components.store.scan(keys.images(namespace))) yield images.Image.decode(value);
  }

  /** Throws already exists, invalid argument. */
  async create(namespace: string, given: PartialMessage<Image>, options: ChangeOptions = {}): Promise<Image> {
    const { store, events } = this.#components;
    const at = options.at ?? timestampNow();
    const image = checkedImage({ ...images.Image.create(given), createdAt: at, updatedAt: at });
    await store.transact((tx) => {
      const key = keys.images(namespace, image.name);
      if (tx.get(key) !== undefined) throw alreadyExists(`image ${JSON.stringify(image.name)}`, { image: image.name });
      ensureNamespace(tx, namespace);
      tx.put(key, images.Image.encode(image));
      // An image without an expiry is a root by itself.
      if (Object.hasOwn(image.labels, expireLabel)) {
        addLeaseResource(tx, namespace, options.lease, leaseResourceTypes.images, image.name);
      }
    });
    const { name, labels } = image;
    events.publish(namespace, '/images/create', images.ImageCreate, { name, labels });
    return image;
  }

  /** Changes what the paths name, or all of it. Throws not found, invalid argument. */
  async update(
    namespace: string,
    change: PartialMessage<Image>,
    paths: readonly string[] = [],
    options: ChangeOptions = {},
  ): Promise<Image> {
    const { store, events, gc } = this.#components;
    const given = images.Image.create(change);
    if (given.name === '') throw invalidArgument('Image.Name required');
    const image = await store.transact((tx) => {
      const old = readImage(tx, namespace, given.name);
      const updated = updatedImage(old, given, paths, options.at);
      tx.put(keys.images(namespace, given.name), images.Image.encode(updated));
      return updated;
    });
    const { name, labels } = image;
    events.publish(namespace, '/images/update', images.ImageUpdate, { name, labels });
    // What the name pointed to before may be garbage now.
    gc.schedule();
    return image;
  }

  /** Makes the name stand for this image, whatever it stood for. */
  async put(namespace: string, image: PartialMessage<Image>, options: ChangeOptions = {}): Promise<Image> {
    for (;;) {
      try {
        return await this.create(namespace, image, options);
      } catch (err) {
        if (!isCode(err, 'already exists')) throw err;
      }
      try {
        return await this.update(namespace, image, [], options);
      } catch (err) {
        // Deleted in between: it can be created now.
        if (!isCode(err, 'not found')) throw err;
      }
    }
  }

  /** Throws not found, also when the image has another target than the one given. With `sync` garbage is gone afterwards. */
  async delete(
    namespace: string,
    name: string,
    options: { readonly target?: string | undefined; readonly sync?: boolean } = {},
  ): Promise<void> {
    const { store, events, gc } = this.#components;
    const { target = '', sync = false } = options;
    await store.transact((tx) => {
      const image = readImage(tx, namespace, name);
      if (target !== '' && target !== image.target?.digest) {
        throw notFound(`image ${JSON.stringify(name)} with target ${target}`, { image: name });
      }
      tx.delete(keys.images(namespace, name));
    });
    events.publish(namespace, '/images/delete', images.ImageDelete, { name });
    if (sync) await gc.run();
    else gc.schedule();
  }
}

/** An image's record. Throws not found. */
function readImage(reader: Reader, namespace: string, name: string): Image {
  const bytes = name === '' ? undefined : reader.get(keys.images(namespace, name));
  if (bytes === undefined) throw notFound(`image ${JSON.stringify(name)}`, { image: name });
  return images.Image.decode(bytes);
}

function updatedImage(
  old: Image,
  change: Image,
  paths: readonly string[],
  sourceDateEpoch: wellKnown.Timestamp | undefined,
): Image {
  const subject = `on image ${JSON.stringify(old.name)}`;
  const mask = parseMask<MaskField>(paths, { fields: maskFields, maps: maskMaps, subject });
  const updated: Image = { ...old, updatedAt: sourceDateEpoch ?? timestampNow() };
  if (mask.length === 0) return checkedImage({ ...updated, labels: change.labels, target: change.target });
  for (const { field, key } of mask) {
    switch (field) {
      case 'labels':
        updated.labels = maskedEntries(updated.labels, change.labels, key);
        break;
      case 'target':
        updated.target = change.target;
        break;
      case 'annotations': {
        const { mediaType = '', digest = '', size = 0n, annotations = {} } = updated.target ?? {};
        const entries = maskedEntries(annotations, change.target?.annotations ?? {}, key);
        updated.target = { mediaType, digest, size, annotations: entries };
        break;
      }
    }
  }
  return checkedImage(updated);
}

/** The image as it is stored. Throws invalid argument when something is missing. */
function checkedImage(image: Image): Image {
  if (image.name === '') throw invalidArgument('Image.Name required');
  try {
    checkLabels(image.labels);
  } catch (err) {
    throw wrap(err, 'image.Labels');
  }
  const { digest = '', mediaType = '', size = 0n } = image.target ?? {};
  if (!isDigest(digest)) {
    throw invalidArgument(`Target.Digest ${JSON.stringify(digest)} invalid: invalid checksum digest format`);
  }
  if (size <= 0n) throw invalidArgument('Target.Size must be greater than zero');
  if (mediaType === '') throw invalidArgument('Target.MediaType must be set');
  return { ...image, labels: presentLabels(image.labels) };
}
