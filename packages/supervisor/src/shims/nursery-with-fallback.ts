/** Forks spare shims where that works, and spawns them where it does not. */
import { isCode } from '@gantry/errors';
import type { Nursery } from './nursery.ts';
import type { ProcessIdentity } from './process-identity.ts';
import { SpawnNursery } from './spawn-nursery.ts';
import { ZygoteNursery } from './zygote-nursery.ts';
import type { ZygoteNurseryOptions } from './zygote-nursery.ts';

export class ForkOrSpawnNursery implements Nursery {
  readonly #zygote: ZygoteNursery;
  readonly #spawn: SpawnNursery;
  #forks = true;

  /** The one warning is said when forking turns out not to work. */
  constructor(options: Omit<ZygoteNurseryOptions, 'onUnfit'>) {
    this.#spawn = new SpawnNursery(options);
    this.#zygote = new ZygoteNursery({
      ...options,
      onUnfit: (reason) => {
        this.#forks = false;
        options.log.warn({ reason }, 'shims cannot be forked here and are spawned instead: slower, and heavier');
      },
    });
  }

  async bear(socketPath: string): Promise<ProcessIdentity> {
    // A zygote that died takes its unborn with it; the next one is asked once.
    for (let attempt = 1; this.#forks; attempt += 1) {
      try {
        return await this.#zygote.bear(socketPath);
      } catch (err) {
        if (this.#forks && (attempt > 1 || !isCode(err, 'unavailable'))) throw err;
      }
    }
    return await this.#spawn.bear(socketPath);
  }

  async close(): Promise<void> {
    await this.#zygote.close();
    await this.#spawn.close();
  }
}
