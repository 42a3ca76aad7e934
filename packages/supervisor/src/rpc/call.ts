/** What a handler knows of its call besides the request: who asks, for how long, under which lease. */
import { checkIdentifier, leaseHeader, namespaceHeader } from '@gantry/api';
import { failedPrecondition } from '@gantry/errors';

export interface Call {
  /**
   * The namespace of the caller. Reading it throws failed precondition when none was sent and invalid argument when it
   * is malformed, so that a method needs it exactly when it reads it.
   */
  readonly namespace: string;
  /** The lease that what the call makes or finds is held by; undefined when none was sent. */
  readonly lease: string | undefined;
  /** Aborted when the client cancelled, went away, or its deadline is over. */
  readonly signal: AbortSignal;
  /** When the client gives up, in milliseconds since 1970; undefined when it did not say. */
  readonly deadlineMs: number | undefined;
  /** What the caller says it is built with. */
  readonly userAgent: string | undefined;
}

/** The first value of a header; clients that nest namespaces prepend theirs. */
type ReadHeader = (name: string) => string | undefined;

/** The call that these headers describe. */
export function callOf(header: ReadHeader, signal: () => AbortSignal, deadlineMs: number | undefined): Call {
  return {
    get namespace() {
      const namespace = header(namespaceHeader);
      if (namespace === undefined || namespace === '') throw failedPrecondition('namespace is required');
      checkIdentifier('', namespace);
      return namespace;
    },
    lease: header(leaseHeader),
    get signal() {
      return signal();
    },
    deadlineMs,
    get userAgent() {
      return header('user-agent');
    },
  };
}
