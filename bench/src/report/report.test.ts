import t from 'tap';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fullPlan } from '../plan.ts';
import { Results } from '../results.ts';
import { asJson, asMarkdown, asText, writeMarkdown } from './report.ts';
import type { Report } from './report.ts';
import { formatNumber } from './rows.ts';
import { asSvg } from './svg.ts';
import { markdownTable, textTable } from './table.ts';

function report(): Report {
  const results = new Results();
  const lifecycle = { key: 'lifecycle/1/total', title: 'whole <lifecycle>', unit: 'ms' } as const;
  results.add(lifecycle, 'gantry', 10, 20, 30);
  results.add(lifecycle, 'peer', 100, 90, 80);
  const rate = { key: 'lifecycle/8/rate', title: 'containers a second', unit: '/s', better: 'more' } as const;
  results.add(rate, 'gantry', 30);
  results.add(rate, 'peer', 20);
  results.add({ key: 'lifecycle/8/start', title: 'hidden', unit: 'ms', detail: true }, 'gantry', 1);
  for (const [running, ms] of [
    [0, 5],
    [500, 6],
  ] as const)
    results.add({ key: `density/start-at-${running}`, title: `with ${running}`, unit: 'ms' }, 'gantry', ms);
  return {
    run: 'gantry-bench-0',
    startedAt: new Date('2026-01-02T03:04:05Z'),
    durationMs: 90_000,
    machine: { model: 'A & B', processors: 2, memoryBytes: 2 ** 34, kernel: '6.1', node: '20', cgroupMode: 'hybrid' },
    noise: { othersShare: 0.05, stealShare: 0, loadBefore: 0.4 },
    sides: { gantry: { title: 'gantry', version: '1' }, peer: { title: 'containerd + runc', version: '2' } },
    plan: fullPlan,
    series: results.summaries(),
  };
}

t.test('numbers have three digits, whatever their size', (t) => {
  t.same([1234.5, 99.96, 12.34, 1.234, 0.12345, 0, -5.19].map(formatNumber), [
    '1235',
    '100',
    '12.3',
    '1.23',
    '0.123',
    '0.00',
    '-5.19',
  ]);
  t.equal(formatNumber(Number.NaN), '–');
  t.end();
});

t.test('the text table lines its columns up, by characters', (t) => {
  const lines = textTable(
    ['a', 'µ'],
    [
      ['long', '1'],
      ['x', '22'],
    ],
  ).split('\n');
  t.same(lines, ['a      µ', '────────', 'long   1', 'x     22']);
  t.end();
});

t.test('a cell cannot break the Markdown table', (t) => {
  t.equal(markdownTable(['a', 'b'], [['x|y', '1']]), '| a | b |\n| --- | ---: |\n| x\\|y | 1 |');
  t.end();
});

t.test('the table shows medians, the ratio and what became of the target', (t) => {
  const text = asText(report(), false);
  t.match(text, /whole <lifecycle> +ms +20\.0 +28\.0 +29\.8 +90\.0 +98\.0 +99\.8 +0\.222 × +≤ 0\.25 × +met/);
  t.match(text, /containers a second +\/s +30\.0 +20\.0 +1\.50 × +≥ 4 × +missed/);
  t.match(text, 'targets: 1 met, 1 missed');
  t.match(text, 'others used 5.00 % of the processors');
  t.notMatch(text, 'hidden');
  t.match(asText(report(), true), 'hidden');
  t.end();
});

t.test('the JSON says everything that was measured', (t) => {
  const { schema, run, startedAt, series } = JSON.parse(asJson(report())) as Record<string, unknown>;
  t.same({ schema, run, startedAt }, { schema: 1, run: 'gantry-bench-0', startedAt: '2026-01-02T03:04:05.000Z' });
  t.match(series, [
    { key: 'lifecycle/1/total', scenario: 'lifecycle', sides: { gantry: { count: 3, p50: 20 } }, verdict: 'met' },
    { key: 'lifecycle/8/rate', better: 'more', ratio: 1.5, target: { atLeast: 4 }, verdict: 'missed' },
    { key: 'lifecycle/8/start', detail: true },
    { key: 'density/start-at-0' },
    { key: 'density/start-at-500' },
  ]);
  t.end();
});

t.test('Markdown goes between the marks of a file and leaves the rest alone', (t) => {
  const dir = mkdtempSync(path.join(tmpdir(), 'gantry-report-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const file = path.join(dir, 'x.md');
  writeFileSync(file, '# A\n\n<!-- bench: begin -->\nold\n<!-- bench: end -->\n\n# B\n');
  writeMarkdown(file, 'new');
  const first = readFileSync(file, 'utf8');
  t.equal(first, '# A\n\n<!-- bench: begin -->\n\nnew\n\n<!-- bench: end -->\n\n# B\n');
  writeMarkdown(file, 'new');
  t.equal(readFileSync(file, 'utf8'), first, 'the same again changes nothing');
  const fresh = path.join(dir, 'y.md');
  writeMarkdown(fresh, asMarkdown(report(), false));
  t.match(
    readFileSync(fresh, 'utf8'),
    /^<!-- bench: begin -->\n\nWritten by `make bench`[^]*\| containers a second \|/,
  );
  t.end();
});

t.test('the plot draws a bar for each side in proportion, and escapes what it is told', (t) => {
  const svg = asSvg(report());
  t.match(svg, 'whole &lt;lifecycle&gt;');
  t.match(svg, 'A &amp; B');
  t.notMatch(svg, /NaN|undefined|Infinity/);
  const lengths = [...svg.matchAll(/<rect class="(gantry|peer)" x="330" y="40" width="([\d.]+)"/g)].map(
    ([, side, length]) => [side, Number(length)] as const,
  );
  t.same(lengths[0], ['gantry', 73.3], 'of 330 for the longest');
  t.match(svg, /<polyline class="line-gantry"/);
  t.match(svg, '@media (prefers-color-scheme: dark)');
  const tags = [...svg.matchAll(/<(\/?)(svg|g|text|style)\b/g)];
  t.equal(tags.filter(([, close]) => close === '/').length * 2, tags.length, 'every element is closed');
  t.end();
});
