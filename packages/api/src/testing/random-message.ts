/** Random messages of any type, from a seed: the same seed gives the same messages on every machine. */
import type { FieldInfo, MessageType } from '../message-type.ts';

/** A small deterministic generator (mulberry32). Returns numbers from 0 up to but not including 1. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const maxDepth = 4;
const strings = ['', 'a', 'Grüße', '容器', '😀', 'x'.repeat(200), '__proto__', 'constructor', '\0'];
const uint64s = [0n, 1n, 127n, 128n, 0xffffffffn, 0x100000000n, 2n ** 53n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n];
const uint32s = [0, 1, 127, 128, 16383, 16384, 0x7fffffff, 0x80000000, 0xffffffff];

/** A message in which every field is set or left out at random. */
export function randomMessage(type: MessageType<unknown>, random: () => number, depth = 0): Record<string, unknown> {
  const message: Record<string, unknown> = {};
  for (const field of type.fields) {
    if (random() < 0.3 || (field.kind === 'message' && depth >= maxDepth)) continue;
    message[field.name] = randomField(field, random, depth);
  }
  return message;
}

function randomField(field: FieldInfo, random: () => number, depth: number): unknown {
  const count = Math.floor(random() * 4);
  if (field.label === 'repeated') return Array.from({ length: count }, () => randomValue(field, random, depth));
  if (field.label !== 'map') return randomValue(field, random, depth);
  const keys = Array.from({ length: count }, () => pick(strings, random));
  return Object.fromEntries(keys.map((key) => [key, randomValue(field, random, depth)]));
}

function randomValue(field: FieldInfo, random: () => number, depth: number): unknown {
  const { kind, message } = field;
  if (message !== undefined) return randomMessage(message, random, depth + 1);
  switch (kind) {
    case 'string':
      return pick(strings, random);
    case 'bytes':
      return Uint8Array.from({ length: Math.floor(random() * 300) }, () => Math.floor(random() * 256));
    case 'bool':
      return random() < 0.5;
    case 'uint32':
    case 'fixed32':
      return pick(uint32s, random);
    case 'int32':
    case 'sint32':
    case 'sfixed32':
    case 'enum':
      return pick(uint32s, random) | 0;
    case 'uint64':
    case 'fixed64':
      return pick(uint64s, random);
    case 'int64':
    case 'sint64':
    case 'sfixed64':
      return BigInt.asIntN(64, pick(uint64s, random));
    case 'float':
      return Math.fround(random() * 1000);
    default:
      return random() * 1e9 - 5e8;
  }
}

function pick<T>(list: readonly T[], random: () => number): T {
  const item = list[Math.floor(random() * list.length)];
  if (item === undefined) throw new RangeError('nothing to pick from');
  return item;
}
