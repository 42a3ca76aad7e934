/**
 * `[stream_processors.<name>]`: programs that make layers of other media types readable, in containerd's words:
 *
 *     [stream_processors."io.containerd.ocicrypt.decoder.v1.tar.gzip"]
 *       accepts = ["application/vnd.oci.image.layer.v1.tar+gzip+encrypted"]
 *       returns = "application/vnd.oci.image.layer.v1.tar+gzip"
 *       path = "ctd-decoder"
 *       args = ["--decryption-keys-path", "/etc/containerd/ocicrypt/keys"]
 *       env = ["OCICRYPT_KEYPROVIDER_CONFIG=/etc/containerd/ocicrypt/ocicrypt_keyprovider.conf"]
 */
import type { StreamProcessor } from '@gantry/diff';
import { invalidArgument } from '@gantry/errors';
import { fieldsOf, textOf, textsOf } from './fields.ts';

export interface StreamProcessorConfig {
  readonly name: string;
  /** Media types of layers. */
  readonly accepts: readonly string[];
  /** The media type of what it gives. */
  readonly returns: string;
  /** The program's path, or its name in PATH. */
  readonly path: string;
  readonly args: readonly string[];
  /** `NAME=value`, besides what gantryd has itself. */
  readonly env: readonly string[];
}

const keys = ['accepts', 'returns', 'path', 'args', 'env'] as const;

/** What the table says; `place` names it in errors. Throws invalid argument naming the key. */
export function parseStreamProcessors(
  table: Readonly<Record<string, unknown>>,
  place: string,
): StreamProcessorConfig[] {
  return Object.entries(table).map(([name, value]) => {
    const at = `${place}.${name}`;
    const fields = fieldsOf(value, at, keys);
    const accepts = textsOf(fields['accepts'], `${at}.accepts`);
    if (accepts.length === 0) throw invalidArgument(`${at}.accepts: must name a media type`);
    const env = textsOf(fields['env'] ?? [], `${at}.env`);
    const bad = env.find((entry) => !/^[^=\0]+=[^\0]*$/.test(entry));
    if (bad !== undefined) throw invalidArgument(`${at}.env: ${JSON.stringify(bad)} is not NAME=value`);
    const [returns, path] = [textOf(fields['returns'], `${at}.returns`), textOf(fields['path'], `${at}.path`)];
    if (returns === '' || path === '') throw invalidArgument(`${at}: returns and path must not be empty`);
    return { name, accepts, returns, path, args: textsOf(fields['args'] ?? [], `${at}.args`), env };
  });
}

/** As the differ starts it: in this process's environment, with what the configuration adds. */
export function streamProcessor({ env, ...rest }: StreamProcessorConfig): StreamProcessor {
  const given = env.map((entry) => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)] as const);
  const own = Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return { ...rest, env: Object.fromEntries([...own, ...given]) };
}

/** The TOML form. */
export function formatStreamProcessors(processors: readonly StreamProcessorConfig[]): string[] {
  return processors.flatMap(({ name, accepts, returns, path, args, env }) => [
    `[stream_processors.${JSON.stringify(name)}]`,
    `accepts = ${JSON.stringify(accepts)}`,
    `returns = ${JSON.stringify(returns)}`,
    `path = ${JSON.stringify(path)}`,
    ...(args.length === 0 ? [] : [`args = ${JSON.stringify(args)}`]),
    ...(env.length === 0 ? [] : [`env = ${JSON.stringify(env)}`]),
    '',
  ]);
}
