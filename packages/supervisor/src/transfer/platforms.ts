/** Platforms of requests. */
import type { types } from '@gantry/api';
import type { Platform } from '@gantry/oci';

export function platformOf({ os, architecture, variant, osVersion }: types.Platform): Platform {
  return {
    os,
    architecture,
    ...(variant === '' ? {} : { variant }),
    ...(osVersion === '' ? {} : { 'os.version': osVersion }),
  };
}
