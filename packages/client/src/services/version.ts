/** Who answers. */
import { version } from '@gantry/api';
import type { CallOptions } from '../transport/call-options.ts';
import type { Transport } from '../transport/transport.ts';

/** The server's version and revision; works without a namespace. Throws unavailable when nobody listens. */
export function serverVersion(transport: Transport, options: CallOptions = {}): Promise<version.VersionResponse> {
  return transport.unary(version.VersionService, version.VersionService.methods.version, {}, options);
}
