/** `manifest.json` of a `docker save` archive: a list of {Config, RepoTags, Layers} with paths inside the archive. */
import { normalizeReference } from '@gantry/oci';
import { invalidArgument } from '@gantry/errors';

export interface DockerArchiveImage {
  /** Path of the config. */
  readonly config: string;
  /** Full names. */
  readonly names: readonly string[];
  /** Paths of the layers, lowest first. */
  readonly layers: readonly string[];
}

/** Throws invalid argument naming the member that is wrong. */
export function parseDockerManifest(bytes: Uint8Array): DockerArchiveImage[] {
  let document: unknown;
  try {
    document = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (err) {
    throw invalidArgument('manifest.json of the archive is not JSON', {}, err);
  }
  if (!Array.isArray(document) || document.length === 0) throw invalidArgument('manifest.json is not a list of images');
  return document.map((entry: unknown, index) => {
    const at = `manifest.json[${index}]`;
    if (typeof entry !== 'object' || entry === null) throw invalidArgument(`${at} is not an object`);
    const config = 'Config' in entry ? entry.Config : undefined;
    if (typeof config !== 'string') throw invalidArgument(`${at}.Config is not a path`);
    return {
      config,
      names: strings('RepoTags' in entry ? entry.RepoTags : undefined, `${at}.RepoTags`).map(normalizeReference),
      layers: strings('Layers' in entry ? entry.Layers : undefined, `${at}.Layers`),
    };
  });
}

function strings(value: unknown, at: string): string[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw invalidArgument(`${at} is not a list`);
  return value.map((item: unknown, index) => {
    if (typeof item !== 'string') throw invalidArgument(`${at}[${index}] is not a string`);
    return item;
  });
}
