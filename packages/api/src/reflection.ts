/** The descriptors of everything in `proto/` in the form in which server reflection hands them out. */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';

export interface ReflectionFile {
  /** As imports name it. */
  readonly name: string;
  /** What it imports. */
  readonly dependency: readonly string[];
  /** Full names of the messages, enums, services and methods it declares. */
  readonly symbols: readonly string[];
  /** A google.protobuf.FileDescriptorProto, in base64. */
  readonly bytes: string;
}

/** Reads what the build made; nothing of it is kept in memory. */
export async function loadReflection(): Promise<readonly ReflectionFile[]> {
  const room = path.dirname(createRequire(import.meta.url).resolve('@gantry/api/package.json'));
  const text = await readFile(path.join(room, 'dist/gen/reflection.json'), 'utf8');
  const { files }: { readonly files: readonly ReflectionFile[] } = JSON.parse(text);
  return files;
}
