/**
 * Regular expressions in time linear in the text: all ways through the expression are followed at once, one character
 * after the other, and none is ever taken back (Thompson 1968).
 *
 * Why not the language's own: everybody who subscribes to events has his expression run over every event, on the loop
 * that serves all callers, and one that backtracks can take years.
 */
import { parseExpression } from './expression-syntax.ts';
import type { Assertion, Expression } from './expression-syntax.ts';
import type { CharacterTest } from './expression-classes.ts';

/** The largest program; each of its steps may cost once per character of the text. */
const maximumSteps = 5000;

type Step =
  | { readonly kind: 'character'; readonly test: CharacterTest }
  | { readonly kind: 'assertion'; readonly test: Assertion }
  /** Goes on at every one of these. */
  | { readonly kind: 'fork'; readonly to: number[] }
  | { readonly kind: 'matched' };

/** A test whether the expression matches anywhere in a text; undefined when RE2 would refuse it or it is too large. */
export function compileExpression(source: string): ((text: string) => boolean) | undefined {
  try {
    const steps: Step[] = [];
    emit(steps, parseExpression(source));
    steps.push({ kind: 'matched' });
    return (text) => matchesAnywhere(steps, text);
  } catch {
    return undefined;
  }
}

function matchesAnywhere(steps: readonly Step[], text: string): boolean {
  let before: number | undefined;
  let alive: number[] = [];
  for (let at = 0; ;) {
    const after = text.codePointAt(at);
    // A match may begin at every place.
    const waiting = closure(steps, [...alive, 0], before, after);
    if (waiting === 'matched') return true;
    if (after === undefined) return false;
    alive = waiting.filter((index) => {
      const step = steps[index];
      return step?.kind === 'character' && step.test(after);
    });
    alive = alive.map((index) => index + 1);
    before = after;
    at += after > 0xffff ? 2 : 1;
  }
}

/** The character steps that can be reached from these without taking a character. */
function closure(
  steps: readonly Step[],
  from: readonly number[],
  before: number | undefined,
  after: number | undefined,
): number[] | 'matched' {
  const seen = new Set<number>();
  const waiting: number[] = [];
  const open = [...from];
  for (let index = open.pop(); index !== undefined; index = open.pop()) {
    const step = steps[index];
    if (step === undefined || seen.has(index)) continue;
    seen.add(index);
    if (step.kind === 'matched') return 'matched';
    if (step.kind === 'character') waiting.push(index);
    else if (step.kind === 'fork') open.push(...step.to);
    else if (step.test(before, after)) open.push(index + 1);
  }
  return waiting;
}

/** Appends the steps of an expression; whoever is through with them goes on behind the last. */
function emit(steps: Step[], expression: Expression): void {
  if (steps.length > maximumSteps) throw new RangeError('regular expression is too large');
  switch (expression.kind) {
    case 'character':
    case 'assertion':
      steps.push(expression);
      break;
    case 'sequence':
      for (const part of expression.parts) emit(steps, part);
      break;
    case 'choice':
      emitChoice(steps, expression.parts);
      break;
    case 'repeat':
      emitRepeat(steps, expression);
      break;
  }
}

function emitChoice(steps: Step[], parts: readonly Expression[]): void {
  const [only] = parts;
  if (only !== undefined && parts.length === 1) return emit(steps, only);
  const starts: number[] = [];
  const ends: number[][] = [];
  steps.push({ kind: 'fork', to: starts });
  for (const part of parts) {
    starts.push(steps.length);
    emit(steps, part);
    const end: number[] = [];
    ends.push(end);
    steps.push({ kind: 'fork', to: end });
  }
  for (const end of ends) end.push(steps.length);
}

function emitRepeat(steps: Step[], { part, min, max }: Extract<Expression, { kind: 'repeat' }>): void {
  for (let count = 0; count < min; count++) {
    const start = steps.length;
    emit(steps, part);
    // Nothing any number of times is nothing, and must not take that long.
    if (steps.length === start) break;
  }
  if (max === undefined) {
    // Round and round: fork → part → back to the fork, or on.
    const start = steps.length;
    const to = [start + 1];
    steps.push({ kind: 'fork', to });
    emit(steps, part);
    steps.push({ kind: 'fork', to: [start] });
    to.push(steps.length);
    return;
  }
  const exits: number[][] = [];
  for (let count = min; count < max; count++) {
    const to = [steps.length + 1];
    exits.push(to);
    steps.push({ kind: 'fork', to });
    emit(steps, part);
  }
  for (const exit of exits) exit.push(steps.length);
}
