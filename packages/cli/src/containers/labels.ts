/** What this command remembers about a container, as labels on its record. */

/** Absolute path of the log file of a container run in the background. */
export const logPathLabel = 'io.gantry/log-path';

/** `true` when the container was run with --rm: whoever sees it stopped may remove it. */
export const autoRemoveLabel = 'io.gantry/auto-remove';

/** The signal `stop` sends first; containerd's own label, which nerdctl reads too. */
export const stopSignalLabel = 'io.containerd.image.config.stop-signal';
