/** How large and how deep a runtime document may be; a gRPC message holds at most 16 MiB. */
import type { JsonLimits } from '../parse/json.ts';

export const runtimeDocumentLimits: JsonLimits = { maximumBytes: 16 * 1024 * 1024, maximumDepth: 64 };
