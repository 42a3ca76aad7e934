/** What every call of this client accepts beside its request. */

/** Options of one call; what is left out is taken from `connect`. */
export interface CallOptions {
  /** Time allowed for the whole call; 0 means no deadline. Unary calls default to the client's `timeoutMs`. */
  readonly timeoutMs?: number | undefined;
  /** Aborting it cancels the call, which then rejects with code `cancelled`. */
  readonly signal?: AbortSignal | undefined;
  /** The containerd namespace of this call. */
  readonly namespace?: string | undefined;
  /** Id of the lease that what this call creates is added to (metadata `containerd-lease`). */
  readonly lease?: string | undefined;
}
