/** containerd.services.transfer.v1.Transfer: what does it (transfer/) is loaded when the first one is asked for. */
import { transfer } from '@gantry/api';
import { bind } from '../rpc/handlers.ts';
import type { Binding } from '../rpc/handlers.ts';
import type { TransferComponents, Transfers } from '../transfer/transfers.ts';

export interface TransferServiceComponents extends TransferComponents {
  /** Called with how to end what was loaded. */
  readonly onLoaded: (close: () => Promise<void>) => void;
}

export function transferService({ onLoaded, ...components }: TransferServiceComponents): Binding {
  let transfers: Promise<Transfers> | undefined;
  const load = async (): Promise<Transfers> => {
    const loaded = await import('../transfer/transfers.ts');
    const made = new loaded.Transfers(components);
    onLoaded(async () => made.close());
    return made;
  };
  return bind(transfer.TransferService, {
    async transfer(request, call) {
      transfers ??= load();
      await (await transfers).run(request, call);
      return {};
    },
  });
}
