/** The names of the metadata that containerd's clients and servers put on calls. */

/** The namespace of a gRPC call; the first value counts. */
export const namespaceHeader = 'containerd-namespace';

/** The namespace of a ttrpc call. */
export const namespaceHeaderTtrpc = 'containerd-namespace-ttrpc';

/** The lease that protects what a gRPC call makes. */
export const leaseHeader = 'containerd-lease';
