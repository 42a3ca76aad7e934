/**
 * What the differ and its workers say to each other, over Node's own channel between parent and child.
 *
 *     differ (supervisor's process)                worker (one job at a time)
 *     ─────────────────────────────                ──────────────────────────
 *     spawns it, at the first job          ──►     asks the kernel to be killed with its parent
 *     {job, kind, request}                 ──►     works; its event loop may be blocked meanwhile
 *                                          ◄──     {job, chunk}*            (compare: the blob's bytes, in order,
 *     {job, taken}                         ──►                               the next one after `taken` only)
 *                                          ◄──     {job, result} or {job, error: {code, message, details}}
 *     disconnects when idle                ──►     exits
 *
 *     worker dies: the job fails with unavailable, naming the signal     parent dies: the kernel kills the worker
 */
import { errorCodes, GantryError } from '@gantry/errors';
import type { ErrorCode, ErrorDetails } from '@gantry/errors';
import type {
  ApplyRequest,
  CompareRequest,
  CompareResult,
  CopyRequest,
  DiffResult,
  StreamProcessor,
} from './differ-types.ts';

export type Job =
  | { readonly kind: 'apply'; readonly request: ApplyRequest; readonly processors: readonly StreamProcessor[] }
  | { readonly kind: 'compare'; readonly request: CompareRequest }
  | { readonly kind: 'copy'; readonly request: CopyRequest };

/** To the worker. */
export type ToWorker = { readonly job: number; readonly work: Job } | { readonly job: number; readonly taken: true };

/** From the worker. */
export type FromWorker =
  | { readonly job: number; readonly chunk: Uint8Array }
  | { readonly job: number; readonly result: DiffResult | CompareResult | undefined }
  | { readonly job: number; readonly error: WireError };

export interface WireError {
  readonly code: string;
  readonly message: string;
  readonly details: ErrorDetails;
}

export function toWireError(err: unknown): WireError {
  if (err instanceof GantryError) return { code: err.code, message: err.message, details: err.details };
  return { code: 'unknown', message: err instanceof Error ? err.message : String(err), details: {} };
}

export function fromWireError({ code, message, details }: WireError): GantryError {
  const known: ErrorCode = errorCodes.find((each) => each === code) ?? 'unknown';
  return new GantryError(known, message, { details });
}
