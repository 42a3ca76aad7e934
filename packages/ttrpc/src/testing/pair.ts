/** A server on a socket in a directory of its own, clients and bare connections to it; everything goes with the test. */
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { TtrpcClient } from '../client.ts';
import { decodeHeader, encodeFrame, headerSize } from '../frame.ts';
import type { Frame } from '../frame.ts';
import type { Handlers } from '../handlers.ts';
import { TtrpcServer } from '../server.ts';
import { echoHandlers, EchoService } from './echo-service.ts';

interface Teardown {
  teardown(run: () => unknown): void;
}

export interface Pair {
  readonly server: TtrpcServer;
  readonly path: string;
  readonly errors: unknown[];
  client(): Promise<TtrpcClient>;
  raw(): Promise<RawConnection>;
}

export async function startPair(t: Teardown, handlers: Handlers<typeof EchoService> = {}): Promise<Pair> {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'gantry-ttrpc-'));
  const socketPath = path.join(dir, 's');
  const errors: unknown[] = [];
  const server = new TtrpcServer({ onError: (err) => errors.push(err) });
  server.register(EchoService, { ...echoHandlers, ...handlers });
  await server.listen(socketPath);
  t.teardown(async () => {
    await server.close({ graceMs: 0 });
    rmSync(dir, { recursive: true, force: true });
  });
  return {
    server,
    path: socketPath,
    errors,
    client: async () => {
      const client = await TtrpcClient.connect(socketPath, { timeoutMs: 2000 });
      t.teardown(() => client.close());
      return client;
    },
    raw: async () => {
      const connection = await RawConnection.open(socketPath);
      t.teardown(() => connection.socket.destroy());
      return connection;
    },
  };
}

/** A peer that sends whatever bytes the test wants and collects the frames that come back. */
export class RawConnection {
  readonly socket: net.Socket;
  private bytes = Buffer.alloc(0);
  private ended = false;
  private wake: () => void = () => {};

  private constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on('data', (chunk) => {
      this.bytes = Buffer.concat([this.bytes, chunk]);
      this.wake();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.ended = true;
      this.wake();
    });
  }

  static open(socketPath: string): Promise<RawConnection> {
    return new Promise((resolve, reject) => {
      const socket = net.connect(socketPath);
      socket.once('error', reject);
      socket.once('connect', () => resolve(new RawConnection(socket)));
    });
  }

  send(type: number, streamId: number, flags: number, data: Uint8Array = new Uint8Array(0)): void {
    this.socket.write(encodeFrame(type, streamId, flags, data));
  }

  /** The next frame; undefined when the connection was closed before it. */
  async frame(): Promise<Frame | undefined> {
    for (;;) {
      if (this.bytes.length >= headerSize) {
        const header = decodeHeader(this.bytes);
        const end = headerSize + header.length;
        if (this.bytes.length >= end) {
          const data = new Uint8Array(this.bytes.subarray(headerSize, end));
          this.bytes = this.bytes.subarray(end);
          return { ...header, data };
        }
      }
      if (this.ended) return undefined;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }
}
