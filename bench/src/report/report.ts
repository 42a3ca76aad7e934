/** Everything a run has to say, and the forms it is said in. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import type { Machine, Noise } from '../host/machine.ts';
import type { Plan } from '../plan.ts';
import type { SeriesResult, SideName } from '../results.ts';
import { sideNames } from '../results.ts';
import { targets, verdictOf } from '../targets.ts';
import { formatNumber, headings, rowsOf } from './rows.ts';
import { markdownTable, textTable } from './table.ts';

export interface Report {
  /** The random word in the name of everything the run made. */
  readonly run: string;
  readonly startedAt: Date;
  readonly durationMs: number;
  readonly machine: Machine;
  readonly noise: Noise;
  /** What was measured: `gantry`, `containerd + runc`, with its version. */
  readonly sides: Readonly<Partial<Record<SideName, { readonly title: string; readonly version: string }>>>;
  readonly plan: Plan;
  readonly series: readonly SeriesResult[];
}

const marks = { begin: '<!-- bench: begin -->', end: '<!-- bench: end -->' };

/** The sides that took part, in their order. */
function present(report: Report): SideName[] {
  return sideNames.filter((name) => report.sides[name] !== undefined);
}

function titles(report: Report): Record<SideName, string> {
  return { gantry: report.sides.gantry?.title ?? 'gantry', peer: report.sides.peer?.title ?? 'peer' };
}

/** Where and when, and how quiet it was there. */
function circumstances({ machine, noise, sides, startedAt, durationMs }: Report): string[] {
  const who = Object.values(sides).map(({ title, version }) => `${title} ${version}`);
  const size = `${machine.processors} × ${machine.model}, ${formatNumber(machine.memoryBytes / 2 ** 30)} GiB`;
  return [
    `${startedAt.toISOString().slice(0, 16).replace('T', ' ')} UTC, ${formatNumber(durationMs / 60_000)} min; ${who.join(' against ')}`,
    `${size}, Linux ${machine.kernel}, cgroup ${machine.cgroupMode}, Node ${machine.node}`,
    `others used ${formatNumber(noise.othersShare * 100)} % of the processors meanwhile, ` +
      `${formatNumber(noise.stealShare * 100)} % were stolen; load before the run ${formatNumber(noise.loadBefore)}`,
  ];
}

export function asText(report: Report, all: boolean): string {
  const sides = present(report);
  const table = textTable(headings(titles(report), sides), rowsOf(report.series, sides, all));
  const missed = report.series.filter((one) => verdictOf(one) === 'missed').length;
  const met = report.series.filter((one) => verdictOf(one) === 'met').length;
  const verdict = met + missed === 0 ? [] : [`targets: ${met} met, ${missed} missed`];
  return ['', table, '', ...circumstances(report), ...verdict].join('\n');
}

export function asMarkdown(report: Report, all: boolean): string {
  const sides = present(report);
  const table = markdownTable(headings(titles(report), sides), rowsOf(report.series, sides, all));
  const lines = circumstances(report).map((line) => `- ${line}`);
  return ['Written by `make bench`, not by hand.', '', ...lines, '', table].join('\n');
}

/** Writes `text` into the file; only what is between the marks when the file has them. */
export function writeMarkdown(file: string, text: string): void {
  const marked = `${marks.begin}\n\n${text}\n\n${marks.end}`;
  const old = existsSync(file) ? readFileSync(file, 'utf8') : '';
  const from = old.indexOf(marks.begin);
  const to = old.indexOf(marks.end, from);
  const whole = from < 0 || to < 0 ? `${marked}\n` : old.slice(0, from) + marked + old.slice(to + marks.end.length);
  writeFileSync(file, whole);
}

export function asJson(report: Report): string {
  const series = report.series.map((one) => ({
    ...one,
    ...(targets[one.key] === undefined ? {} : { target: targets[one.key], verdict: verdictOf(one) }),
  }));
  const startedAt = report.startedAt.toISOString();
  return `${JSON.stringify({ schema: 1, ...report, startedAt, series }, undefined, 2)}\n`;
}
