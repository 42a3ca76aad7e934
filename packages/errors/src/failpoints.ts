/**
 * Failpoints: named places where a test makes gantryd, or its differ, die, fail or wait.
 *
 * Armed by `GANTRY_FAILPOINTS="task.create.after-intent=kill;task.delete.after-shim=2*error(oops)"`, read once. A term is
 * `[N*]action`: `kill` (SIGKILL to ourselves), `error(text)`, `delay(ms)`, `off`; `N*` limits how often it happens.
 * Without the variable a failpoint is one comparison.
 */
import { internal, invalidArgument } from './error.ts';

interface Armed {
  left: number;
  readonly action: () => Promise<void>;
}

type Failpoint = (name: string) => Promise<void> | undefined;

const variable = process.env['GANTRY_FAILPOINTS'] ?? '';

/** What a helper process needs in its environment to have them too: nothing where none is armed. */
export const failpointEnvironment: Readonly<Record<string, string>> =
  variable === '' ? {} : { GANTRY_FAILPOINTS: variable };

const armed: ReadonlyMap<string, Armed> | undefined = parse(variable);

/** Passes through the failpoint: `await failpoint('task.create.after-intent')`. */
export const failpoint: Failpoint = armed === undefined ? () => undefined : (name) => hit(armed.get(name));

async function hit(point: Armed | undefined): Promise<void> {
  if (point === undefined || point.left === 0) return;
  point.left -= 1;
  await point.action();
}

function parse(text: string): ReadonlyMap<string, Armed> | undefined {
  if (text === '') return undefined;
  return new Map(text.split(';').map((term) => parseTerm(term)));
}

function parseTerm(term: string): [string, Armed] {
  const match = /^([\w.-]+)=(?:(\d+)\*)?(off|kill|error|delay)(?:\(([^)]*)\))?$/.exec(term.trim());
  if (match === null) throw invalidArgument(`failpoint ${JSON.stringify(term)}`);
  const [, name = '', count, action = '', argument = ''] = match;
  return [name, { left: count === undefined ? -1 : Number(count), action: actionOf(action, name, argument) }];
}

function actionOf(action: string, name: string, argument: string): () => Promise<void> {
  if (action === 'off') return async () => undefined;
  if (action === 'delay') return () => new Promise((resolve) => setTimeout(resolve, Number(argument)));
  if (action === 'error') return () => Promise.reject(internal(argument === '' ? `failpoint ${name}` : argument));
  return () => {
    process.kill(process.pid, 'SIGKILL');
    return new Promise(() => undefined); // the signal arrives before anything else happens
  };
}
