/**
 * Differs: who makes trees of layers and layers of trees. Our own is `walking`; others are in other processes ([proxy_plugins]). Of
 * several, the first that does not answer with not implemented has the request.
 */
import type { wellKnown } from '@gantry/api';
import type { DiffMount, DiffResult } from '@gantry/diff';
import { isCode, notImplemented } from '@gantry/errors';
import type { LayerApplier } from '@gantry/images';
import type { DiffConfig } from '../config/plugin-tables.ts';

/** Whose layer it is, and under which lease it is made or read. */
export interface Origin {
  readonly namespace: string;
  readonly lease: string | undefined;
  readonly signal: AbortSignal | undefined;
}

/** A blob as requests name it. */
export interface LayerBlob {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: bigint;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface ApplyLayer {
  readonly layer: LayerBlob;
  readonly mounts: readonly DiffMount[];
  readonly syncFs: boolean;
  /** For stream processors, by their names. */
  readonly payloads: Readonly<Record<string, wellKnown.Any>>;
}

export interface CompareLayers {
  readonly left: readonly DiffMount[];
  readonly right: readonly DiffMount[];
  readonly mediaType: string;
  /** Names the ingest; '' for one of its own. */
  readonly ref: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly sourceDateEpoch: wellKnown.Timestamp | undefined;
}

export interface LayerDiffer {
  readonly name: string;
  /** Whether a layer can be applied before those below it are there: see `LayerApplier`. */
  readonly detached: boolean;
  /** Has ready what the next layer will need. */
  warm(): void;
  /** The uncompressed layer. Not implemented for a media type that it does not know. */
  apply(origin: Origin, request: ApplyLayer): Promise<DiffResult>;
  /** The layer's blob, in the content store. Not implemented for a media type that it does not make. */
  compare(origin: Origin, request: CompareLayers): Promise<LayerBlob>;
}

/** The differs of the configuration as one, for the API and for unpacking. */
export class OrderedDiffers implements LayerApplier {
  readonly #differs: readonly LayerDiffer[];
  readonly #syncFs: boolean;

  /** `known` has every one that the configuration names. */
  constructor(known: readonly LayerDiffer[], { order, syncFs }: DiffConfig) {
    this.#differs = order.flatMap((name) => known.filter((differ) => differ.name === name));
    this.#syncFs = syncFs;
  }

  get detached(): boolean {
    return this.#differs.every(({ detached }) => detached);
  }

  /** A layer is on its way. */
  warm(): void {
    this.#differs[0]?.warm();
  }

  async apply(origin: Origin, request: ApplyLayer): Promise<DiffResult> {
    const wanted = { ...request, syncFs: request.syncFs || this.#syncFs };
    return this.#first(async (differ) => differ.apply(origin, wanted));
  }

  async compare(origin: Origin, request: CompareLayers): Promise<LayerBlob> {
    return this.#first(async (differ) => differ.compare(origin, request));
  }

  async #first<T>(ask: (differ: LayerDiffer) => Promise<T>): Promise<T> {
    let refusal: unknown = notImplemented('there is no differ');
    for (const differ of this.#differs) {
      try {
        return await ask(differ);
      } catch (err) {
        if (!isCode(err, 'not implemented')) throw err;
        refusal = err;
      }
    }
    throw refusal;
  }
}
