/** How much of a registry's word is taken. */

/** Manifests and indexes; registries accept at least 4 MiB (distribution specification, "Pushing Manifests"). */
export const manifestLimitBytes = 4 * 1024 * 1024;

/** Image configs, which are read into memory as well. */
export const configLimitBytes = 8 * 1024 * 1024;
