/** The descriptors of everything in `proto/`, for server reflection. */
import { readFile } from 'node:fs/promises';

/** `google.protobuf.FileDescriptorSet` in protobuf's JSON form; files come after the ones they import. */
export interface FileDescriptorSet {
  readonly file: readonly { readonly name: string; readonly package: string }[];
}

/** Reads the set that the build made; nothing of it is kept in memory. */
export async function loadDescriptors(): Promise<FileDescriptorSet> {
  const text = await readFile(new URL('./gen/descriptors.json', import.meta.url), 'utf8');
  const set: FileDescriptorSet = JSON.parse(text);
  return set;
}
