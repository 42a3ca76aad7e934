/** containerd.services.diff.v1.Diff: layers onto snapshots, and the difference of two snapshots as a layer. */
import { diff } from '@gantry/api';
import type { types } from '@gantry/api';
import type { DiffMount } from '@gantry/diff';
import { invalidArgument } from '@gantry/errors';
import type { OrderedDiffers, Origin } from '../differs/layer-differ.ts';
import type { Call } from '../rpc/call.ts';
import { bind } from '../rpc/handlers.ts';
import type { Binding } from '../rpc/handlers.ts';

export interface DiffServiceComponents {
  readonly differs: OrderedDiffers;
}

export function diffService({ differs }: DiffServiceComponents): Binding {
  return bind(diff.DiffService, {
    async apply({ diff: layer, mounts, payloads, syncFs }, call) {
      if (layer === undefined) throw invalidArgument('diff apply without a descriptor');
      const request = { layer, mounts: mounts.map(mountOf), payloads, syncFs };
      return { applied: await differs.apply(originOf(call), request) };
    },

    async diff(request, call) {
      const { left, right } = request;
      const wanted = { ...request, left: left.map(mountOf), right: right.map(mountOf) };
      const { mediaType, digest, size, annotations } = await differs.compare(originOf(call), wanted);
      return { diff: { mediaType, digest, size, annotations: { ...annotations } } };
    },
  });
}

function originOf({ namespace, lease, signal }: Call): Origin {
  return { namespace, lease, signal };
}

function mountOf({ type, source, target, options }: types.Mount): DiffMount {
  return { type, source, options, ...(target === '' ? {} : { target }) };
}
