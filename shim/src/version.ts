/** The version this shim reports; the same as in package.json, without reading that at start. */
export const version = '0.1.0';
