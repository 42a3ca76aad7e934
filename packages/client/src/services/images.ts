/** Image records: a name and the descriptor it points to. */
import { images } from '@gantry/api';
import type { PartialMessage, types } from '@gantry/api';
import { internal, isCode } from '@gantry/errors';
import type { CallOptions } from '../transport/call-options.ts';
import type { Transport } from '../transport/transport.ts';

const service = images.ImagesService;

/** An image as it is stored. */
export type ImageRecord = images.Image;

export class ImageStoreClient {
  private readonly transport: Transport;

  constructor(transport: Transport) {
    this.transport = transport;
  }

  /** Sorted by name. */
  async list(filters: readonly string[] = [], options: CallOptions = {}): Promise<images.Image[]> {
    return (await this.transport.unary(service, service.methods.list, { filters: [...filters] }, options)).images;
  }

  /** By the stored name, character by character. Throws not found. */
  async get(name: string, options: CallOptions = {}): Promise<images.Image> {
    const reply = await this.transport.unary(service, service.methods.get, { name }, options);
    return present(reply.image, name);
  }

  /** Makes the name point to the target, whatever it pointed to before. */
  async put(image: PartialMessage<images.Image> & { name: string }, options: CallOptions = {}): Promise<images.Image> {
    try {
      const reply = await this.transport.unary(service, service.methods.create, { image }, options);
      return present(reply.image, image.name);
    } catch (err) {
      if (!isCode(err, 'already exists')) throw err;
    }
    const request = { image, updateMask: { paths: ['target', 'labels'] } };
    const reply = await this.transport.unary(service, service.methods.update, request, options);
    return present(reply.image, image.name);
  }

  /** Removes the name; with `sync` also what only it referred to, before the reply. Throws not found. */
  async delete(name: string, options: CallOptions & { readonly sync?: boolean } = {}): Promise<void> {
    await this.transport.unary(service, service.methods.delete, { name, sync: options.sync ?? false }, options);
  }
}

/** The descriptor an image points to; an image without one is an error of the server. */
export function targetOf(image: images.Image): types.Descriptor {
  if (image.target === undefined) throw internal(`image "${image.name}" has no target`);
  return image.target;
}

function present(image: images.Image | undefined, name: string): images.Image {
  if (image === undefined) throw internal(`image "${name}": empty reply`);
  return image;
}
