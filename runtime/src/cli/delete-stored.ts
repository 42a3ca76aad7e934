/** Taking away everything of a container. */
import { linux } from '@gantry/libc';
import { deleteLeftovers } from '../delete.ts';
import type { Report } from './report.ts';
import type { StateRoot } from './state-root.ts';
import type { StoredContainer } from './stored-container.ts';

/** Ends what is left of it, removes its control group and its record. Can be repeated after a failure. */
export function deleteStored(root: StateRoot, stored: StoredContainer, report: Report): void {
  for (const warning of deleteLeftovers(linux, stored.directory)) report.warn(warning);
  root.remove(stored.id);
}
