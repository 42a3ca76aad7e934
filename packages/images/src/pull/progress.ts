/** What a pull or a push tells while it goes on. */
import type { Descriptor } from '@gantry/oci';

export const transferStates = ['waiting', 'transferring', 'exists', 'mounted', 'done', 'skipped'] as const;

/**
 * - waiting: known, not begun
 * - transferring: `offset` of `total` bytes are over; may go back when a part has to come again
 * - exists: was there before; mounted: taken over from another repository (push)
 * - done: complete and verified
 * - skipped: a layer that registries do not hold (push)
 */
export type TransferState = (typeof transferStates)[number];

export interface TransferProgress {
  readonly kind: 'index' | 'manifest' | 'config' | 'layer' | 'blob';
  readonly descriptor: Descriptor;
  /** What refers to it, the image's target last. */
  readonly parents: readonly Descriptor[];
  readonly state: TransferState;
  readonly offset: number;
  readonly total: number;
}

/** Called at each change of state and at most ten times a second for each blob. Must not throw. */
export type OnProgress = (progress: TransferProgress) => void;

const intervalMs = 100;

export type ContentKind = TransferProgress['kind'];

/** One blob's reporter. */
export class ProgressReporter {
  readonly #about: Pick<TransferProgress, 'kind' | 'descriptor' | 'parents' | 'total'>;
  readonly #tell: OnProgress | undefined;
  #lastMs = 0;

  constructor(
    tell: OnProgress | undefined,
    kind: ContentKind,
    descriptor: Descriptor,
    parents: readonly Descriptor[] = [],
  ) {
    this.#tell = tell;
    this.#about = { kind, descriptor, parents, total: descriptor.size };
  }

  state(state: TransferState, offset = state === 'waiting' ? 0 : this.#about.total): void {
    this.#tell?.({ ...this.#about, state, offset });
  }

  moved(offset: number): void {
    const now = performance.now();
    if (now - this.#lastMs < intervalMs) return;
    this.#lastMs = now;
    this.#tell?.({ ...this.#about, state: 'transferring', offset });
  }
}
