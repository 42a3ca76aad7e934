/** The plot: bars of both sides for what was measured, by phase and over all, and the start time as containers grow. */
import type { SeriesResult, SideName } from '../results.ts';
import { sideNames } from '../results.ts';
import type { Report } from './report.ts';
import { formatNumber } from './rows.ts';

const width = 860;
const left = 330;
const barsWidth = 330;
const rowHeight = 34;
const barHeight = 11;
const headHeight = 40;

interface Colours {
  readonly paper: string;
  readonly ink: string;
  readonly faint: string;
  readonly line: string;
  readonly gantry: string;
  readonly peer: string;
}

const light = {
  paper: '#ffffff',
  ink: '#1f2328',
  faint: '#5c6670',
  line: '#d5dae0',
  gantry: '#0b62c4',
  peer: '#b3682b',
};
const dark = {
  paper: '#0f141a',
  ink: '#e4eaf0',
  faint: '#94a0ad',
  line: '#313a44',
  gantry: '#5aa7ff',
  peer: '#e0a36a',
};

/** Plain rules, no variables: not every viewer of SVG knows those. */
const colouring = ({ paper, ink, faint, line, gantry, peer }: Colours): string =>
  `.paper { fill: ${paper} } text { fill: ${ink} } .faint { fill: ${faint} } .rule { stroke: ${line} } ` +
  `.gantry { fill: ${gantry} } .peer { fill: ${peer} } ` +
  `.line-gantry { stroke: ${gantry} } .line-peer { stroke: ${peer} }`;

/** Follows the reader's choice of light or dark; a background of its own, so that no page can make it unreadable. */
const style = `
  text { font: 12px system-ui, sans-serif } .head { font-size: 15px; font-weight: 600 }
  .end { text-anchor: end } .mid { text-anchor: middle }
  .rule, .line-gantry, .line-peer { fill: none } .line-gantry, .line-peer { stroke-width: 2.5 }
  ${colouring(light)}
  @media (prefers-color-scheme: dark) { ${colouring(dark)} }`;

/** What the panels after the first show, in this order, as far as it was measured. */
const overview = [
  'lifecycle/1/total',
  'lifecycle/1/cpu',
  'lifecycle/8/rate',
  'lifecycle/32/rate',
  'exec/1/total',
  'exec/8in1/rate',
  'exec/8in8/rate',
  'density/shim-private',
  'density/machine',
  'density/list',
  'density/idle',
  'restart/answer',
  'restart/running',
  'restart/exec',
  'rpc/version-1/rate',
  'rpc/version-64/rate',
  'rpc/get-1/rate',
  'rpc/list',
  'stdout/rate',
];

/** Everything that draws gets a height and gives its picture, placed by the caller. */
interface Panel {
  readonly height: number;
  readonly body: string;
}

export function asSvg(report: Report): string {
  const named = sideNames.flatMap((name) => {
    const side = report.sides[name];
    return side === undefined ? [] : [{ name, title: side.title }];
  });
  const by = new Map(report.series.map((one) => [one.key, one]));
  const phases = report.series.filter(
    ({ key, unit, detail }) => key.startsWith('lifecycle/1/') && unit === 'ms' && !detail,
  );
  const chosenBy = (better: 'less' | 'more'): SeriesResult[] =>
    overview.flatMap((key) => by.get(key) ?? []).filter((one) => one.better === better);
  const panels = [
    bars('One container that runs `true`: median milliseconds by phase', phases, 'common'),
    bars('Less is better: medians, a scale of its own for each pair', chosenBy('less'), 'own'),
    bars('More is better: medians, a scale of its own for each pair', chosenBy('more'), 'own'),
    growth(report.series),
  ].filter((panel) => panel !== undefined);
  let top = 64;
  const placed = panels.map((panel) => {
    const group = `<g transform="translate(0 ${top})">${panel.body}</g>`;
    top += panel.height + 20;
    return group;
  });
  const legend = named.map(
    ({ name, title }, index) =>
      `<rect class="${name}" x="${24 + index * 200}" y="38" width="11" height="11" rx="2"/>` +
      `<text x="${41 + index * 200}" y="48">${escape(title)}</text>`,
  );
  const when = `${report.startedAt.toISOString().slice(0, 10)}, ${report.machine.processors} × ${report.machine.model}, Linux ${report.machine.kernel}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${top}" width="${width}" height="${top}" role="img" aria-label="gantry measured beside its peer">`,
    `<style>${style}\n</style>`,
    `<rect class="paper" width="${width}" height="${top}"/>`,
    `<text class="head" x="24" y="25">${escape(named.map(({ title }) => title).join(' beside '))}</text>`,
    `<text class="faint end" x="${width - 24}" y="25">${escape(when)}</text>`,
    ...legend,
    ...placed,
    '</svg>',
    '',
  ].join('\n');
}

/** A row a series and a bar a side. `common`: one scale for all rows; `own`: one for each. */
function bars(title: string, series: readonly SeriesResult[], scale: 'common' | 'own'): Panel | undefined {
  if (series.length === 0) return undefined;
  const largest = (rows: readonly SeriesResult[]): number =>
    Math.max(...rows.flatMap(({ sides }) => sideNames.map((name) => sides[name]?.p50 ?? 0)), Number.MIN_VALUE);
  const common = largest(series);
  const rows = series.map((one, index) => {
    const top = headHeight + index * rowHeight;
    const most = scale === 'common' ? common : largest([one]);
    const drawn = sideNames.flatMap((name, at) => {
      const value = one.sides[name]?.p50;
      if (value === undefined) return [];
      const length = Math.max((Math.max(value, 0) / most) * barsWidth, 1).toFixed(1);
      const y = top + at * (barHeight + 2);
      return [
        `<rect class="${name}" x="${left}" y="${y}" width="${length}" height="${barHeight}" rx="2"/>`,
        `<text class="faint" x="${left + Number(length) + 6}" y="${y + 10}">${formatNumber(value)} ${one.unit}</text>`,
      ];
    });
    const ratio = one.ratio === undefined ? '' : `${formatNumber(one.ratio)} ×`;
    return [
      `<text class="end" x="${left - 12}" y="${top + 16}">${escape(one.title.replace(/^— /, ''))}</text>`,
      ...drawn,
      `<text class="end" x="${width - 24}" y="${top + 16}">${ratio}</text>`,
    ].join('');
  });
  return { height: headHeight + series.length * rowHeight, body: heading(title) + rows.join('\n') };
}

/** Start time over the number of containers that run. */
function growth(series: readonly SeriesResult[]): Panel | undefined {
  const points = series.flatMap((one) => {
    const running = /^density\/start-at-(\d+)$/.exec(one.key)?.[1];
    return running === undefined ? [] : [{ running: Number(running), sides: one.sides }];
  });
  const last = points.at(-1)?.running ?? 0;
  if (points.length < 2 || last === 0) return undefined;
  const height = 190;
  const foot = headHeight + height;
  const value = (name: SideName, at: (typeof points)[number]): number | undefined => at.sides[name]?.p50;
  const most =
    Math.max(...points.flatMap((at) => sideNames.map((name) => value(name, at) ?? 0)), Number.MIN_VALUE) * 1.1;
  const x = (running: number): number => 90 + (running / last) * (width - 160);
  const y = (ms: number): number => foot - (ms / most) * height;
  const lines = sideNames.map((name) => {
    const seen = points.flatMap((at) => {
      const ms = value(name, at);
      return ms === undefined ? [] : [{ x: x(at.running), y: y(ms), ms }];
    });
    const path = seen.map((at) => `${at.x.toFixed(1)},${at.y.toFixed(1)}`).join(' ');
    const dots = seen.map(
      (at) =>
        `<circle class="${name}" cx="${at.x.toFixed(1)}" cy="${at.y.toFixed(1)}" r="4"/>` +
        `<text class="faint mid" x="${at.x.toFixed(1)}" y="${(at.y - 9).toFixed(1)}">${formatNumber(at.ms)}</text>`,
    );
    return `<polyline class="line-${name}" points="${path}"/>${dots.join('')}`;
  });
  const ticks = points.map(
    (at) => `<text class="faint mid" x="${x(at.running).toFixed(1)}" y="${foot + 18}">${at.running}</text>`,
  );
  const axes = `<path class="rule" d="M90 ${headHeight} V${foot} H${width - 50}"/>`;
  const title = 'Task create + start: median milliseconds over the number of containers that run';
  return { height: headHeight + height + 28, body: [heading(title), axes, ...lines, ...ticks].join('\n') };
}

function heading(title: string): string {
  return `<path class="rule" d="M24 4 H${width - 24}"/><text class="head" x="24" y="26">${escape(title)}</text>`;
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
