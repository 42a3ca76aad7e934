/** Makes a container from an image: snapshot, spec and record. Nothing runs yet. */
import { existsSync } from 'node:fs';
import { isReservedLabel, typeUrls } from '@gantry/api';
import type { containers, types, wellKnown } from '@gantry/api';
import { alreadyExists, failedPrecondition, GantryError, invalidArgument, isCode, messageOf } from '@gantry/errors';
import { linux } from '@gantry/libc';
import { formatIdMap, gidMappingLabel, uidMappingLabel } from '@gantry/oci';
import type { IdMaps, ImageConfig } from '@gantry/oci';
import type { ImagesClient } from '../images/images.ts';
import type { ContainersClient } from '../services/containers.ts';
import type { IntrospectionClient } from '../services/introspection.ts';
import type { LeasesClient } from '../services/leases.ts';
import type { SnapshotsClient } from '../services/snapshots.ts';
import { generateSpec } from '../spec/generate.ts';
import type { ImageProcess, SpecOptions } from '../spec/generate.ts';
import { layerDirectories, readFromLayers } from '../spec/layered-root.ts';
import { hostPrivileges } from '../spec/privileged.ts';
import { cannotReadUserFiles, isNumericUser, resolveUser } from '../spec/user.ts';
import type { ResolvedUser, UserFiles } from '../spec/user.ts';
import type { CallOptions } from '../transport/call-options.ts';

/** The runtime name every supervisor of this API knows; gantry runs its own runtime under it. */
export const defaultRuntime = 'io.containerd.runc.v2';

/** passwd and group files larger than this are not looked into. */
const userFileLimitBytes = 1024 * 1024;

/** What making a container needs of the client. */
export interface CreateComponents {
  readonly namespace: string;
  readonly images: ImagesClient;
  readonly snapshots: SnapshotsClient;
  readonly containers: ContainersClient;
  readonly leases: LeasesClient;
  readonly introspection: IntrospectionClient;
}

type ChosenByCaller = Omit<SpecOptions, 'id' | 'namespace' | 'image' | 'user' | 'privileged' | 'unifiedCgroups'>;

export interface CreateContainerOptions extends ChosenByCaller, CallOptions {
  readonly id: string;
  /** Name as stored or familiar. */
  readonly image: string;
  /** `user[:group]`, names or numbers; default: the image's. */
  readonly user?: string | undefined;
  readonly privileged?: boolean | undefined;
  readonly runtime?: string | undefined;
  /** Options of the runtime, packed. */
  readonly runtimeOptions?: wellKnown.Any | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

/**
 * Returns the stored record. The rootfs snapshot has the container's id as its key. When a step fails, what the
 * earlier ones made is taken back. Throws already exists (id), not found (image, user).
 */
export async function createContainer(
  components: CreateComponents,
  options: CreateContainerOptions,
): Promise<containers.Container> {
  const { id, signal, timeoutMs } = options;
  const namespace = options.namespace ?? components.namespace;
  if (options.privileged === true && options.userNamespace !== undefined) {
    throw invalidArgument('a privileged container has the host’s ids: it cannot be in a user namespace');
  }
  await using lease = await components.leases.with({ namespace });
  const call: CallOptions = { signal, timeoutMs, namespace, lease: lease.id };
  const image = await components.images.get(options.image, call);
  const config = await components.images.config(image, call);
  const parent = await components.images.unpack(image, { ...call, snapshotter: components.snapshots.snapshotter });
  const labels = await mappingLabels(components, options.userNamespace, call);
  const mounts = await prepareRootfs(components, { id, parent, labels }, call);
  try {
    const process = imageProcess(config);
    const spec = generateSpec({
      ...options,
      namespace,
      image: process,
      user: await userOf(options.user ?? process.user, async () => mounts),
      privileged: options.privileged === true ? hostPrivileges() : undefined,
      unifiedCgroups: existsSync('/sys/fs/cgroup/cgroup.controllers'),
    });
    return await components.containers.create(
      {
        id,
        image: image.name,
        labels: { ...imageLabels(config), ...stopSignal(config), ...options.labels },
        runtime: { name: options.runtime ?? defaultRuntime, options: options.runtimeOptions },
        spec: { typeUrl: typeUrls.spec, value: Buffer.from(JSON.stringify(spec)) },
        snapshotter: components.snapshots.snapshotter,
        snapshotKey: id,
      },
      call,
    );
  } catch (err) {
    await takeBack(components.snapshots, id, namespace);
    throw err;
  }
}

/**
 * What tells the snapshotter whose ids are whose. Failed precondition where it cannot show a layer's files so: copying the image to
 * change its owners is not done behind anybody's back.
 */
async function mappingLabels(
  { introspection, snapshots }: CreateComponents,
  maps: IdMaps | undefined,
  call: CallOptions,
): Promise<Record<string, string>> {
  if (maps === undefined) return {};
  const { snapshotter } = snapshots;
  const plugins = await introspection.plugins([`type==io.containerd.snapshotter.v1, id==${snapshotter}`], call);
  if (!plugins.some(({ capabilities }) => capabilities.includes('remap-ids'))) {
    throw failedPrecondition(
      `snapshotter ${snapshotter} cannot map the ids of layers on this host, which a container in a user namespace needs`,
    );
  }
  return {
    [uidMappingLabel]: formatIdMap(maps.uidMappings),
    [gidMappingLabel]: formatIdMap(maps.gidMappings),
  };
}

/** A snapshot that is taken is most often a container that exists: then that is what is said. */
async function prepareRootfs(
  { containers: records, snapshots }: CreateComponents,
  { id, parent, labels }: { readonly id: string; readonly parent: string; readonly labels: Record<string, string> },
  call: CallOptions,
): Promise<types.Mount[]> {
  try {
    return await snapshots.prepare(id, parent, { ...call, labels });
  } catch (err) {
    if (!isCode(err, 'already exists')) throw err;
    const exists = await records.get(id, call).then(
      () => true,
      () => false,
    );
    throw exists ? alreadyExists(`container "${id}"`, { container: id }) : err;
  }
}

/** The process part of an image's config, with what is absent made empty. */
export function imageProcess(config: ImageConfig): ImageProcess {
  const run = config.config;
  return {
    env: run.Env ?? [],
    entrypoint: run.Entrypoint ?? [],
    cmd: run.Cmd ?? [],
    workingDir: run.WorkingDir ?? '',
    user: run.User ?? '',
  };
}

/**
 * Numbers for a user. Files are read out of the snapshot for names, and for the groups of a user given alone; when
 * they cannot be read a numeric user still works. Throws not found, failed precondition.
 */
export async function userOf(user: string, mounts: () => Promise<readonly types.Mount[]>): Promise<ResolvedUser> {
  if (isNumericUser(user)) return resolveUser(user, { passwd: undefined, group: undefined });
  try {
    return resolveUser(user, userFiles(await mounts()));
  } catch (err) {
    if (isCode(err, 'not found') || isCode(err, 'invalid argument')) throw err;
    if (/^\d*$/.test(user)) return resolveUser(user, { passwd: undefined, group: undefined });
    throw err instanceof GantryError ? cannotReadUserFiles(messageOf(err)) : err;
  }
}

function userFiles(mounts: readonly types.Mount[]): UserFiles {
  const directories = layerDirectories(mounts);
  return {
    passwd: readFromLayers(linux, directories, '/etc/passwd', userFileLimitBytes),
    group: readFromLayers(linux, directories, '/etc/group', userFileLimitBytes),
  };
}

/** As containerd's limit for key and value together. */
const labelLimitBytes = 4096;

function imageLabels(config: ImageConfig): Record<string, string> {
  const entries = Object.entries(config.config.Labels ?? {}).filter(
    ([key, value]) =>
      value !== '' && !isReservedLabel(key) && Buffer.byteLength(key) + Buffer.byteLength(value) <= labelLimitBytes,
  );
  return Object.fromEntries(entries);
}

/** containerd's own label: what a polite stop sends. */
function stopSignal(config: ImageConfig): Record<string, string> {
  const signal = config.config.StopSignal ?? '';
  return signal === '' ? {} : { 'io.containerd.image.config.stop-signal': signal };
}

/** Has its own deadline: the caller's may be what ended the creation. */
async function takeBack(snapshots: SnapshotsClient, key: string, namespace: string): Promise<void> {
  try {
    await snapshots.remove(key, { namespace, timeoutMs: 10_000 });
  } catch {
    // The lease's end hands it to the garbage collector.
  }
}
