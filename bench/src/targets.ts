/** The figures gantry promises, by series; SPECIFICATION.md lists them too. */
import type { SeriesResult } from './results.ts';

/** A bound on gantry's median, or on its ratio to the peer's. */
export interface Target {
  readonly of: 'ratio' | 'value';
  readonly atMost?: number;
  readonly atLeast?: number;
}

const ratioAtMost = (atMost: number): Target => ({ of: 'ratio', atMost });
const ratioAtLeast = (atLeast: number): Target => ({ of: 'ratio', atLeast });
const valueAtMost = (atMost: number): Target => ({ of: 'value', atMost });

export const targets: Readonly<Record<string, Target>> = {
  'lifecycle/1/total': ratioAtMost(0.25),
  'lifecycle/8/rate': ratioAtLeast(4),
  'lifecycle/32/rate': ratioAtLeast(4),
  'exec/1/total': ratioAtMost(0.35),
  'exec/8in1/rate': ratioAtLeast(3),
  'exec/8in8/rate': ratioAtLeast(3),
  'density/shim-private': valueAtMost(2),
  'density/shim-threads': valueAtMost(1),
  'density/machine': ratioAtMost(0.85),
  'density/daemon-pss': valueAtMost(110),
  'density/start-growth': valueAtMost(1.2),
  'density/list': valueAtMost(20),
  'density/idle': valueAtMost(20),
  'restart/answer': ratioAtMost(1.2),
  'restart/running': ratioAtMost(1.2),
  'restart/exec': ratioAtMost(1.2),
  'stdout/rate': ratioAtLeast(1.5),
  'runtime/run': ratioAtMost(2),
  'runtime/in-process': ratioAtMost(1),
  'rpc/version-64/rate': ratioAtLeast(0.3),
  'rpc/get-64/rate': ratioAtLeast(0.3),
  'rpc/list': ratioAtMost(2),
  'rpc/events/rate': ratioAtLeast(0.3),
  'rpc/create-delete-16/rate': ratioAtLeast(1),
  'images/import-plain': ratioAtMost(0.7),
  'images/import-plain-cpu': ratioAtMost(0.7),
  'images/import-gzip': ratioAtMost(0.7),
  'images/import-gzip-cpu': ratioAtMost(0.7),
  'images/peak': valueAtMost(150),
  'images/blob-write': ratioAtLeast(1.5),
  'images/blob-read': ratioAtLeast(1),
  'images/chain-prepare': ratioAtMost(1),
};

export type Verdict = 'met' | 'missed';

/** Undefined when there is no target, or not enough was measured to judge. */
export function verdictOf(series: SeriesResult): Verdict | undefined {
  const target = targets[series.key];
  const value = target?.of === 'ratio' ? series.ratio : series.sides.gantry?.p50;
  if (target === undefined || value === undefined) return undefined;
  const met = value <= (target.atMost ?? Number.POSITIVE_INFINITY) && value >= (target.atLeast ?? 0);
  return met ? 'met' : 'missed';
}

/** `≤ 0.25 ×`, `≤ 20 ms`; '' when there is none. */
export function describeTarget(series: SeriesResult): string {
  const target = targets[series.key];
  if (target === undefined) return '';
  const bound = target.atMost === undefined ? `≥ ${target.atLeast}` : `≤ ${target.atMost}`;
  return `${bound} ${target.of === 'ratio' ? '×' : series.unit}`;
}
