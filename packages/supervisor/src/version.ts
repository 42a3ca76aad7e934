/** The version the API reports: ours, readable as semver, at a level that clients take for a containerd 2.x. */
export const version = '2.1.0+gantry.0.1.0';
