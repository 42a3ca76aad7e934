/** Taking away everything of a container. */
import { linux } from '@gantry/libc';
import { deleteLeftovers } from '../delete.ts';
import type { Report } from './report.ts';
import type { StateRoot } from './state-root.ts';
import type { StoredContainer } from './stored-container.ts';

/** Ends what is left of it, removes its control group and its record. Can be repeated after a failure. */
export function deleteStored(root: StateRoot, stored: StoredContainer, _report: Report): void {
  deleteLeftovers(linux, stored.directory);
  root.remove(stored.id);
}
