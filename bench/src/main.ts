/** `make bench`: gantryd and a stock containerd, each started by this program, measured by turns through their API. */
import { missing } from '@gantry/test';
import { writeFileSync } from 'node:fs';
import { describeMachine, NoiseMeter } from './host/machine.ts';
import { parseOptions, usage } from './options.ts';
import type { Options } from './options.ts';
import { Stage } from './peers/stage.ts';
import { asJson, asMarkdown, asText, writeMarkdown } from './report/report.ts';
import type { Report } from './report/report.ts';
import { asSvg } from './report/svg.ts';
import { Results } from './results.ts';
import { scenarios } from './scenarios/all.ts';
import { soakScenario } from './scenarios/soak.ts';
import type { Bench } from './scenarios/scenario.ts';

const say = (text: string): void => console.error(`bench: ${text}`);

/** Sets everything up, measures, and takes everything down again. */
async function measure(options: Options): Promise<Report> {
  const startedAt = new Date();
  const meter = new NoiseMeter();
  const stage = new Stage(options);
  endWhateverHappens(stage);
  const results = new Results();
  let failure: unknown;
  let ownMs = 0;
  try {
    say(`starting the daemons below ${stage.dir}, cgroups below /${stage.mark}`);
    await stage.start();
    const before = stage.cpuMs();
    const bench: Bench = { sides: stage.sides, plan: options.plan, results, say };
    try {
      for (const scenario of chosen(options)) await scenario.run(bench);
    } catch (err) {
      failure = err; // what was measured before is still worth seeing
    }
    ownMs = stage.cpuMs() - before;
  } finally {
    await end(stage);
  }
  if (failure !== undefined) {
    process.exitCode = 1;
    say(`failed, what follows is not all: ${failure instanceof Error ? (failure.stack ?? '') : String(failure)}`);
  }
  return {
    run: stage.mark,
    startedAt,
    durationMs: Date.now() - startedAt.getTime(),
    machine: describeMachine(),
    noise: meter.noise(ownMs),
    sides: Object.fromEntries(stage.sides.map(({ name, title, version }) => [name, { title, version }])),
    plan: options.plan,
    series: results.summaries(),
  };
}

/** Signals, a reader of the output that has gone, and our own mistakes: none of them leaves a container behind. */
function endWhateverHappens(stage: Stage): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  const abandon = (why: string, code: number): void => {
    say(`${why}: taking everything down`);
    void end(stage).finally(() => process.exit(code));
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => abandon(signal, 130));
  process.on('uncaughtException', (err) => abandon(err.stack ?? err.message, 1));
}

function chosen({ only, soak }: Options): typeof scenarios {
  if (soak !== undefined) return [soakScenario(soak)];
  return scenarios.filter(({ name }) => only === undefined || only.includes(name));
}

async function end(stage: Stage): Promise<void> {
  for (const line of await stage.end()) say(`had to be cleared away: ${line}`);
}

function publish(report: Report, options: Options): void {
  console.log(asText(report, options.all));
  if (options.json !== undefined) writeFileSync(options.json, asJson(report));
  if (options.markdown !== undefined) writeMarkdown(options.markdown, asMarkdown(report, options.all));
  if (options.svg !== undefined) writeFileSync(options.svg, asSvg(report));
}

async function main(): Promise<void> {
  const names = scenarios.map(({ name }) => name);
  const options = parseOptions(process.argv.slice(2), names);
  if (options.help) {
    console.log(usage.replace('NAMES', names.join(', ')));
    return;
  }
  const needsPeer = options.sides !== 'gantry' && options.soak === undefined && options.peerGantryd === undefined;
  const peer = needsPeer ? ['containerd', 'containerd-shim-runc-v2', options.runtime ?? 'runc'] : [];
  const reason = missing('busybox', ...peer);
  if (reason !== undefined) throw new Error(`cannot measure here: ${reason}`);
  publish(await measure(options), options);
}

try {
  await main();
} catch (err) {
  console.error(`bench: ${err instanceof Error ? (err.stack ?? err.message) : String(err)}`);
  process.exitCode = 1;
}
