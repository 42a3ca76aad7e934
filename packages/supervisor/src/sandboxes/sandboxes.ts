/**
 * Sandboxes that shims hold, over containerd's sandbox API for shims (containerd.runtime.sandbox.v1.Sandbox).
 *
 *   Create  ─►  bundle ─► the shim of the sandbox's runtime is started ─► CreateSandbox
 *   Start … Metrics  ─►  the same call of the shim
 *   Shutdown  ─►  ShutdownSandbox ─► the shim ends ─► bundle
 *
 * A Create that was not answered has not happened: what a gantryd that died leaves of it goes at the next start.
 *
 * Nothing of it is kept in memory: a bundle `STATE/sandboxes/<namespace>/<id>/` says where the shim listens, so a sandbox goes
 * on when gantryd is started anew. A shim without the API answers UNIMPLEMENTED, and so does Create then.
 */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { mkdir, rm, rmdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { checkIdentifier, sandboxShim } from '@gantry/api';
import type { MethodName, PartialMessage, RequestOf, ResponseOf, types, wellKnown } from '@gantry/api';
import { alreadyExists, failpoint, isCode, messageOf, notFound, wrap } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import { ownDirectory } from '../own-directory.ts';
import type { ShimCallOptions, ShimConnection } from '../shims/connection.ts';
import type { ForeignShims } from '../shims/foreign/foreign-shims.ts';
import { foreignBinary, removeRootfs } from '../shims/foreign/foreign-bundle.ts';
import type { ShimRequest } from '../shims/launcher.ts';
import { resolveRuntime } from '../shims/runtime-name.ts';
import { shimEntry } from '../shims/shim-program.ts';
import { KeyedQueue } from '../tasks/keyed-queue.ts';
import type { Timeouts } from '../timeouts.ts';

export interface SandboxesOptions {
  /** The supervisor's state directory. */
  readonly state: string;
  readonly foreign: Pick<ForeignShims, 'bootstrap' | 'cleanUp' | 'connect'>;
  /** Runtime names that the configuration gives a shim. */
  readonly runtimes: ReadonlyMap<string, string>;
  readonly timeouts: Timeouts;
  readonly log: { warn(fields: object, text: string): void };
}

/** What a sandbox is made of. */
export interface NewSandbox {
  readonly sandbox: types.Sandbox;
  readonly rootfs: readonly types.Mount[];
  readonly options: wellKnown.Any | undefined;
  readonly netnsPath: string;
  readonly annotations: Readonly<Record<string, string>>;
}

/** Where a sandbox's task API is served. */
export interface Endpoint {
  readonly address: string;
  readonly version: number;
}

type Service = typeof sandboxShim.SandboxService;

/** In a bundle whose sandbox is being made; one in which it stays has a Create that gantryd did not live to answer. */
const makingFile = 'making';

export class Sandboxes {
  readonly #options: SandboxesOptions;
  readonly #dir: string;
  readonly #queue = new KeyedQueue();
  readonly #lines = new Map<string, Promise<ShimConnection>>();

  constructor(options: SandboxesOptions) {
    this.#options = options;
    this.#dir = path.join(options.state, 'sandboxes');
  }

  /** Makes what bundles are made in. */
  prepare(): void {
    ownDirectory(this.#dir, 0o711);
  }

  /** Removes what is half-made. Whoever creates one of the same name meanwhile waits. Rejects for nothing; what fails is logged. */
  async reconcile(): Promise<void> {
    const names = readdirSync(this.#dir).flatMap((namespace) =>
      readdirSync(path.join(this.#dir, namespace)).map((id) => ({ namespace, id })),
    );
    const halfMade = names.filter(({ namespace, id }) => {
      const bundle = this.#pathOf(namespace, id);
      return existsSync(path.join(bundle, makingFile)) || readdirSync(bundle).length === 0;
    });
    await Promise.all(
      halfMade.map(({ namespace, id }) =>
        this.#exclusive(namespace, id, async () => {
          // A shim that listens is asked to end.
          await this.#line(namespace, id).catch(() => undefined);
          await this.#remove(namespace, id);
        }).catch((err: unknown) =>
          this.#options.log.warn({ ns: namespace, sandbox: id, err: messageOf(err) }, 'removing a half-made sandbox'),
        ),
      ),
    );
  }

  /** The bundle of a sandbox that is there. */
  bundleOf(namespace: string, id: string): string | undefined {
    if (!isIdentifier(id)) return undefined;
    const bundle = this.#pathOf(namespace, id);
    return statSync(bundle, { throwIfNoEntry: false })?.isDirectory() === true ? bundle : undefined;
  }

  /** Throws already exists; what the runtime's name is refused with; what the shim says. Nothing is left then. */
  create(namespace: string, { sandbox, ...rest }: NewSandbox): Promise<void> {
    const id = sandbox.sandboxId;
    checkIdentifier('sandbox', id);
    const runtime = resolveRuntime(sandbox.runtime?.name ?? '', this.#options.runtimes);
    const binary = runtime.kind === 'own' ? shimEntry() : runtime.binary;
    return this.#exclusive(namespace, id, async () => {
      const request = this.#requestFor(namespace, id);
      await this.#makeBundle(request);
      try {
        await writeFile(path.join(request.bundle, makingFile), '', { mode: 0o600 });
        await failpoint('sandbox.create.after-bundle');
        const contents = {
          binary,
          config: sandbox.spec?.value ?? Buffer.from('{}'),
          options: sandbox.runtime?.options,
        };
        const line = await this.#options.foreign.bootstrap(request, contents).catch((err: unknown) => {
          throw wrap(err, `failed to start new shim for sandbox ${id}`);
        });
        this.#keep(namespace, id, line);
        await failpoint('sandbox.create.after-shim');
        const { rootfs, options, netnsPath, annotations } = rest;
        const wanted = {
          sandboxId: id,
          bundlePath: request.bundle,
          rootfs: [...rootfs],
          options,
          netnsPath,
          annotations,
        };
        await this.#ask(line, 'createSandbox', wanted, { timeoutMs: this.#options.timeouts.taskCreateMs });
        await failpoint('sandbox.create.after-create');
        await rm(path.join(request.bundle, makingFile));
      } catch (err) {
        await this.#remove(namespace, id);
        throw err;
      }
    });
  }

  /** A call of the sandbox's shim. Throws not found when there is no sandbox, or its shim is gone. */
  async call<K extends MethodName<Service>>(
    namespace: string,
    id: string,
    method: K,
    request: PartialMessage<RequestOf<Service, K>>,
    options: ShimCallOptions,
  ): Promise<ResponseOf<Service, K>> {
    return await this.#ask(await this.#line(namespace, id), method, request, options);
  }

  async endpoint(namespace: string, id: string): Promise<Endpoint> {
    const { address, version } = (await this.#line(namespace, id)).spoken ?? { address: '', version: 0 };
    return { address, version };
  }

  /** Ends the sandbox's shim and removes all of it. Throws not found; what the shim says when it does not want to. */
  shutdown(namespace: string, id: string): Promise<void> {
    return this.#exclusive(namespace, id, async () => {
      if (this.bundleOf(namespace, id) === undefined) throw missing(id);
      const line = await this.#line(namespace, id).catch(() => undefined); // dead: what is left is cleaned up
      if (line !== undefined) {
        const limits = { timeoutMs: this.#options.timeouts.taskDeleteMs };
        try {
          await this.#ask(line, 'shutdownSandbox', { sandboxId: id }, limits);
        } catch (err) {
          if (!isCode(err, 'unavailable')) throw wrap(err, 'failed to shutdown sandbox');
        }
      }
      await failpoint('sandbox.shutdown.after-shim');
      await this.#remove(namespace, id);
    });
  }

  /** Lets go of the shims, which live on. */
  async close(): Promise<void> {
    const lines = [...this.#lines.values()];
    this.#lines.clear();
    for (const line of lines) (await line.catch(() => undefined))?.close();
  }

  #exclusive<T>(namespace: string, id: string, work: () => Promise<T>): Promise<T> {
    return this.#queue.run(`${namespace}/${id}`, work);
  }

  #pathOf(namespace: string, id: string): string {
    return path.join(this.#dir, namespace, id);
  }

  #requestFor(namespace: string, id: string): ShimRequest {
    return { namespace, id, bundle: this.#pathOf(namespace, id), socketPath: '' };
  }

  async #makeBundle({ bundle, id }: ShimRequest): Promise<void> {
    await mkdir(path.dirname(bundle), { recursive: true, mode: 0o711 });
    try {
      await mkdir(bundle, { mode: 0o700 });
    } catch (err) {
      if (isErrno(err, 'EEXIST')) throw alreadyExists(`sandbox ${id} already running`);
      throw wrap(err, `making the bundle of sandbox ${id}`);
    }
  }

  #ask<K extends MethodName<Service>>(
    line: ShimConnection,
    method: K,
    request: PartialMessage<RequestOf<Service, K>>,
    options: ShimCallOptions,
  ): Promise<ResponseOf<Service, K>> {
    return line.callOther(sandboxShim.SandboxService, method, request, options);
  }

  #keep(namespace: string, id: string, line: ShimConnection): void {
    const key = `${namespace}/${id}`;
    const kept = Promise.resolve(line);
    this.#lines.set(key, kept);
    line.onClose(() => {
      if (this.#lines.get(key) === kept) this.#lines.delete(key);
    });
  }

  /** The line to a sandbox's shim, made anew when it was lost. */
  async #line(namespace: string, id: string): Promise<ShimConnection> {
    const bundle = this.bundleOf(namespace, id);
    if (bundle === undefined) throw missing(id);
    const kept = this.#lines.get(`${namespace}/${id}`);
    if (kept !== undefined) return await kept;
    try {
      const line = await this.#options.foreign.connect(bundle);
      this.#keep(namespace, id, line);
      return line;
    } catch (err) {
      throw notFound(`the shim of sandbox ${id} is gone: ${messageOf(err)}`, { sandbox: id }, err);
    }
  }

  /** Ends what is left of the shim, by its own program, and removes the bundle. What fails of it is logged. */
  async #remove(namespace: string, id: string): Promise<void> {
    const request = this.#requestFor(namespace, id);
    const { foreign, log, timeouts } = this.#options;
    const kept = await this.#lines.get(`${namespace}/${id}`)?.catch(() => undefined);
    this.#lines.delete(`${namespace}/${id}`);
    if (kept !== undefined) {
      // A shim that answers ends by one of the two words, whichever it knows.
      const limits = { timeoutMs: timeouts.shimShutdownMs };
      await this.#ask(kept, 'shutdownSandbox', { sandboxId: id }, limits).catch(() => undefined);
      await kept.call('shutdown', { id }, limits).catch(() => undefined);
      await closed(kept, timeouts.shimShutdownMs);
      kept.close();
    }
    const isFilled = foreignBinary(request.bundle) !== undefined;
    const steps = [() => removeRootfs(request.bundle)];
    for (const step of isFilled ? [() => foreign.cleanUp(request), ...steps] : steps) {
      try {
        await step();
      } catch (err) {
        log.warn({ ns: namespace, sandbox: id, err: messageOf(err) }, 'removing a sandbox');
      }
    }
    await failpoint('sandbox.shutdown.after-clean-up');
    await rm(request.bundle, { recursive: true, force: true });
    await rmdir(path.dirname(request.bundle)).catch(() => undefined); // another sandbox's bundle is there
  }
}

/** What is no name names nothing, a path least of all. */
function isIdentifier(id: string): boolean {
  try {
    checkIdentifier('sandbox', id);
    return true;
  } catch {
    return false;
  }
}

function missing(id: string): Error {
  return notFound(`sandbox ${JSON.stringify(id)}`, { sandbox: id });
}

/** Waits for the shim's end, but not for ever. */
async function closed(line: ShimConnection, timeoutMs: number): Promise<void> {
  if (line.closed) return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, timeoutMs);
    line.onClose(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
