/** protobufjs with its reflection, which reads `proto/` itself: what our tables and codec are compared with. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';

const protoDir = fileURLToPath(new URL('../../../../proto', import.meta.url));

/** Every .proto file of the house, loaded by protobufjs. */
export function loadOracle(): protobuf.Root {
  const root = new protobuf.Root();
  root.resolvePath = (_origin, target) => (path.isAbsolute(target) ? target : path.join(protoDir, target));
  const files = readdirSync(protoDir, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.proto'));
  root.loadSync(files.map((file) => path.join(protoDir, file)));
  root.resolveAll();
  return root;
}

/** The protobufjs form of one of our messages: 64-bit numbers are decimal strings there. */
export function toOracle(value: unknown): unknown {
  if (typeof value === 'bigint') return String(value);
  if (value instanceof Uint8Array || typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(toOracle);
  // Entries keep a key named __proto__ an ordinary key.
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toOracle(item)]));
}
