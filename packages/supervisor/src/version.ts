/** What this is: the version that the API reports, and the commit that it was built from. */
import { readFileSync } from 'node:fs';

/** The version the API reports: ours, readable as semver, at a level that clients take for a containerd 2.x. */
export const version = '2.1.0+gantry.0.1.0';

/** The commit, as the build has noted it (`build/revision.mjs`); '' when it knew none, or there was no build but a compilation. */
export function revision(): string {
  try {
    const noted: unknown = JSON.parse(readFileSync(new URL('revision.json', import.meta.url), 'utf8'));
    return typeof noted === 'object' && noted !== null && 'revision' in noted ? String(noted.revision) : '';
  } catch {
    return '';
  }
}
