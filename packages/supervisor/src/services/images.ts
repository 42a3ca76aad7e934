/**
 * containerd.services.images.v1.Images: names of what is in the content store. A record keeps the media type, digest,
 * size and annotations of its target.
 */
import { checkLabels, images, timestampNow } from '@gantry/api';
import type { wellKnown } from '@gantry/api';
import { alreadyExists, invalidArgument, notFound, wrap } from '@gantry/errors';
import { isDigest } from '@gantry/oci';
import { addLeaseResource, keys, leaseResourceTypes, presentLabels } from '@gantry/store';
import type { Reader, Store } from '@gantry/store';
import type { Publisher } from '../events/exchange.ts';
import { maskedEntries, parseMask } from '../field-mask.ts';
import { compileFilters, imageAdaptor } from '../filters/index.ts';
import type { GarbageCollector } from '../gc/collector.ts';
import { expireLabel } from '../gc/labels.ts';
import { bind } from '../rpc/handlers.ts';
import type { Binding } from '../rpc/handlers.ts';
import { ensureNamespace } from './namespace-records.ts';

export interface ImagesServiceComponents {
  readonly store: Store;
  readonly events: Publisher;
  readonly gc: Pick<GarbageCollector, 'schedule' | 'run'>;
}

type Image = images.Image;

const maskFields = ['labels', 'target', 'annotations'] as const;
const maskMaps = ['labels', 'annotations'] as const;
type MaskField = (typeof maskFields)[number];

export function imagesService({ store, events: publisher, gc }: ImagesServiceComponents): Binding {
  return bind(images.ImagesService, {
    get: ({ name }, call) => ({ image: readImage(store, call.namespace, name) }),

    list: ({ filters }, call) => {
      const matches = compileFilters(filters);
      const found: Image[] = [];
      for (const { value } of store.scan(keys.images(call.namespace))) {
        const image = images.Image.decode(value);
        if (matches(imageAdaptor(image))) found.push(image);
      }
      return { images: found };
    },

    async create({ image: given, sourceDateEpoch }, call) {
      const { namespace, lease } = call;
      const at = sourceDateEpoch ?? timestampNow();
      const image = checkedImage({ ...images.Image.create(), ...given, createdAt: at, updatedAt: at });
      await store.transact((tx) => {
        const key = keys.images(namespace, image.name);
        if (tx.get(key) !== undefined) {
          throw alreadyExists(`image ${JSON.stringify(image.name)}`, { image: image.name });
        }
        ensureNamespace(tx, namespace);
        tx.put(key, images.Image.encode(image));
        // An image without an expiry is a root by itself.
        if (Object.hasOwn(image.labels, expireLabel)) {
          addLeaseResource(tx, namespace, lease, leaseResourceTypes.images, image.name);
        }
      });
      const { name, labels } = image;
      publisher.publish(namespace, '/images/create', images.ImageCreate, { name, labels });
      return { image };
    },

    async update({ image: change, updateMask, sourceDateEpoch }, call) {
      const { namespace } = call;
      if (change === undefined || change.name === '') throw invalidArgument('Image.Name required');
      const image = await store.transact((tx) => {
        const old = readImage(tx, namespace, change.name);
        const updated = updatedImage(old, change, updateMask?.paths ?? [], sourceDateEpoch);
        tx.put(keys.images(namespace, change.name), images.Image.encode(updated));
        return updated;
      });
      const { name, labels } = image;
      publisher.publish(namespace, '/images/update', images.ImageUpdate, { name, labels });
      // What the name pointed to before may be garbage now.
      gc.schedule();
      return { image };
    },

    async delete({ name, sync, target }, call) {
      const { namespace } = call;
      await store.transact((tx) => {
        const image = readImage(tx, namespace, name);
        if (target !== undefined && target.digest !== '' && target.digest !== image.target?.digest) {
          throw notFound(`image ${JSON.stringify(name)} with target ${target.digest}`, { image: name });
        }
        tx.delete(keys.images(namespace, name));
      });
      publisher.publish(namespace, '/images/delete', images.ImageDelete, { name });
      if (sync) await gc.run();
      else gc.schedule();
      return {};
    },
  });
}

/** An image's record. Throws not found. */
export function readImage(reader: Reader, namespace: string, name: string): Image {
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
