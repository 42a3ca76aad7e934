/**
 * The program `gantryd`.
 *
 *   gantryd [--address SOCK] [--root DIR] [--state DIR] [--config FILE] [--log-level LEVEL]
 *   gantryd config default | dump
 *   gantryd publish --topic TOPIC --namespace NS
 *
 * SIGTERM and SIGINT end it and leave every container running; SIGHUP reads the log level again.
 */
import path from 'node:path';
import { parseArgs } from 'node:util';
import { invalidArgument, messageOf } from '@gantry/errors';
import { defaultConfig, formatConfig, loadConfig, parseLogLevel } from './config/config.ts';
import type { Config } from './config/config.ts';
import { startSupervisor } from './daemon.ts';
import { openLog } from './log.ts';

const defaultConfigFile = '/etc/gantry/config.toml';

const usage = `usage: gantryd [flags] [config default|dump] [publish --topic TOPIC --namespace NS]

  -a, --address PATH    socket of the API (${defaultConfig.address}, or GANTRY_ADDRESS)
      --root DIR        metadata, blobs, snapshots (${defaultConfig.root})
      --state DIR       bundles and shim sockets (${defaultConfig.state})
  -c, --config FILE     configuration, may be absent (${defaultConfigFile})
  -l, --log-level LEVEL trace, debug, info, warn, error or fatal (${defaultConfig.logLevel})
  -h, --help
`;

const flags = {
  address: { type: 'string', short: 'a' },
  root: { type: 'string' },
  state: { type: 'string' },
  config: { type: 'string', short: 'c' },
  'log-level': { type: 'string', short: 'l' },
  topic: { type: 'string' },
  namespace: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const;

async function main(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({ args: [...argv], options: flags, allowPositionals: true });
  if (values.help === true) {
    process.stdout.write(usage);
    return;
  }
  const readConfig = async (): Promise<{ config: Config; warnings: readonly string[] }> => {
    const { config, warnings } = await loadConfig(values.config ?? defaultConfigFile);
    const address = values.address ?? process.env['GANTRY_ADDRESS'];
    return {
      warnings,
      config: {
        ...config,
        // Shims run elsewhere: what they are told must not depend on the directory we were started in.
        address: path.resolve(address === undefined || address === '' ? config.address : address),
        root: path.resolve(values.root ?? config.root),
        state: path.resolve(values.state ?? config.state),
        ...(values['log-level'] === undefined ? {} : { logLevel: parseLogLevel(values['log-level'], '--log-level') }),
      },
    };
  };
  const [word, what, ...rest] = positionals;
  if (word === 'config' && what === 'default' && rest.length === 0) {
    process.stdout.write(formatConfig(defaultConfig));
    return;
  }
  const { config, warnings } = await readConfig();
  if (word === 'config' && what === 'dump' && rest.length === 0) {
    process.stdout.write(formatConfig(config));
    return;
  }
  if (word === 'publish' && what === undefined) {
    await (await import('./publish.ts')).publish(config.address, values.topic, values.namespace);
    return;
  }
  if (word !== undefined) throw invalidArgument(`unexpected argument ${JSON.stringify(positionals.join(' '))}`);

  const log = openLog(config.logLevel);
  for (const warning of warnings) log.warn(warning);
  const starting = startSupervisor(config, log);
  let stopping = false;
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping) return;
    stopping = true;
    log.info({ signal }, 'gantryd ends; containers run on');
    // One that is still starting ends when it has: what is half-open cannot be closed in order.
    starting.then(
      (supervisor) => supervisor.close().then(() => process.exit(0)),
      () => undefined, // told below
    );
  };
  process.on('SIGTERM', stop).on('SIGINT', stop);
  process.on('SIGHUP', () => {
    readConfig().then(
      (again) => {
        log.level = again.config.logLevel;
        log.info({ level: log.level }, 'log level read again');
      },
      (err: unknown) => log.error({ err: messageOf(err) }, 'reading the configuration again'),
    );
  });
  await starting;
}

main(process.argv.slice(2)).catch((err: unknown) => {
  process.stderr.write(`gantryd: ${messageOf(err)}\n`);
  process.exit(1);
});
