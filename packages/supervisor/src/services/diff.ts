/** containerd.services.diff.v1.Diff: finds the blob; packages/diff does the work in a process of its own. */
import { diff } from '@gantry/api';
import type { types } from '@gantry/api';
import type { ContentStore } from '@gantry/content';
import type { DiffMount, Differ } from '@gantry/diff';
import { invalidArgument } from '@gantry/errors';
import { bind } from '../rpc/handlers.ts';
import type { Binding } from '../rpc/handlers.ts';

export interface DiffServiceComponents {
  readonly content: ContentStore;
  readonly differ: Differ;
}

export function diffService({ content, differ }: DiffServiceComponents): Binding {
  return bind(diff.DiffService, {
    async apply({ diff: descriptor, mounts, syncFs }, call) {
      if (descriptor === undefined) throw invalidArgument('diff apply without a descriptor');
      const { digest, mediaType } = descriptor;
      const { size } = content.info(call.namespace, digest);
      const blobPath = content.blobPath(call.namespace, digest);
      const applied = await differ.apply({ blobPath, mediaType, digest, size, mounts: mounts.map(mountOf), syncFs });
      return { applied };
    },
  });
}

function mountOf({ type, source, target, options }: types.Mount): DiffMount {
  return { type, source, options, ...(target === '' ? {} : { target }) };
}
