/** The supervisor's side of a shim test: a real event socket that can be taken away and come back. */
import { typeRegistry } from '@gantry/api';
import { eventsTtrpc } from '@gantry/api/shim';
import { TtrpcServer } from '@gantry/ttrpc';

/** An event as it arrived. */
export interface SeenEvent {
  readonly topic: string;
  readonly namespace: string;
  readonly payload: Readonly<Record<string, unknown>>;
}

export class SupervisorDouble {
  readonly events: SeenEvent[] = [];
  readonly path: string;
  #server: TtrpcServer | undefined;

  constructor(path: string) {
    this.path = path;
  }

  async listen(): Promise<void> {
    this.#server = new TtrpcServer();
    this.#server.register(eventsTtrpc.EventsService, {
      forward: (request) => {
        const { envelope } = request;
        const event = envelope?.event;
        if (envelope === undefined || event === undefined) throw new Error('an envelope without an event');
        const payload = typeRegistry.get(event.typeUrl)?.decode(event.value) as Record<string, unknown>;
        this.events.push({ topic: envelope.topic, namespace: envelope.namespace, payload });
        return {};
      },
    });
    await this.#server.listen(this.path);
  }

  async close(): Promise<void> {
    await this.#server?.close();
    this.#server = undefined;
  }

  /** The topics so far, without the common prefix; exits and execs with their id: `exit:e1`. */
  get order(): string[] {
    return this.events.map(({ topic, payload }) => {
      const name = topic.replace('/tasks/', '');
      const id = payload['execId'] ?? (name === 'exit' ? payload['id'] : undefined);
      return id === undefined ? name : `${name}:${String(id)}`;
    });
  }

  /** Waits until an event of that name (as in `order`) is there. */
  async until(name: string, timeoutMs = 5000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!this.order.includes(name)) {
      if (Date.now() > deadline) throw new Error(`no event ${name}; seen: ${this.order.join(' ')}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}
