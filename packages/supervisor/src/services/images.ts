/** containerd.services.images.v1.Images: translation only; images/image-records.ts decides. */
import { images } from '@gantry/api';
import { invalidArgument } from '@gantry/errors';
import { compileFilters, imageAdaptor } from '../filters/index.ts';
import type { ImageRecords } from '../images/image-records.ts';
import { bind } from '../rpc/handlers.ts';
import type { Binding } from '../rpc/handlers.ts';

export function imagesService({ records }: { readonly records: ImageRecords }): Binding {
  return bind(images.ImagesService, {
    get: ({ name }, call) => ({ image: records.get(call.namespace, name) }),

    list: ({ filters }, call) => {
      const matches = compileFilters(filters);
      return { images: [...records.list(call.namespace)].filter((image) => matches(imageAdaptor(image))) };
    },

    async create({ image, sourceDateEpoch }, call) {
      const { namespace, lease } = call;
      return { image: await records.create(namespace, image ?? {}, { at: sourceDateEpoch, lease }) };
    },

    async update({ image, updateMask, sourceDateEpoch }, call) {
      if (image === undefined) throw invalidArgument('Image.Name required');
      return { image: await records.update(call.namespace, image, updateMask?.paths ?? [], { at: sourceDateEpoch }) };
    },

    async delete({ name, sync, target }, call) {
      await records.delete(call.namespace, name, { target: target?.digest, sync });
      return {};
    },
  });
}
