/**
 * The regular expressions of filters: RE2's syntax, matched in time linear in the text.
 *
 * Everybody who subscribes to events has his expression run over every event, so one that backtracks would stall all
 * callers. V8 has a matcher without backtracking behind a flag; it refuses what RE2 refuses too (back references, look
 * around), and large counted repetitions (`a{1000}`) on top of that.
 */
import { setFlagsFromString } from 'node:v8';

// Only makes the flag `l` known; expressions without it are compiled as before.
setFlagsFromString('--enable-experimental-regexp-engine');

const posixClasses: Readonly<Record<string, string>> = {
  alnum: '0-9A-Za-z',
  alpha: 'A-Za-z',
  ascii: '\\x00-\\x7f',
  blank: '\\t ',
  cntrl: '\\x00-\\x1f\\x7f',
  digit: '0-9',
  graph: '!-~',
  lower: 'a-z',
  print: ' -~',
  punct: '!-\\/:-@\\[-`{-~',
  space: '\\t\\n\\v\\f\\r ',
  upper: 'A-Z',
  word: '0-9A-Za-z_',
  xdigit: '0-9A-Fa-f',
};

/** A test whether the expression matches anywhere; undefined when it is not one that can be run. */
export function compileExpression(source: string): ((text: string) => boolean) | undefined {
  const [, letters = '', rest = source] = /^\(\?([ims]+)\)([\s\S]*)$/.exec(source) ?? [];
  const flags = [...new Set(letters)].join('');
  try {
    const expression = new RegExp(translate(rest, flags.includes('m')), `l${flags}`);
    return (text) => expression.test(text);
  } catch {
    return undefined;
  }
}

/** RE2's spelling in JavaScript's. Throws for a class that does not exist. */
function translate(source: string, multiline: boolean): string {
  return source.replaceAll(/\\[\s\S]|\(\?P<|\[:(\w+):\]/g, (found, name: string | undefined) => {
    if (name !== undefined) {
      if (!Object.hasOwn(posixClasses, name)) throw new SyntaxError(`class ${name}`);
      return posixClasses[name] ?? '';
    }
    if (found === '(?P<') return '(?<';
    // Without the flag m the anchors of the whole text are the plain ones; with it JavaScript has none.
    if (!multiline && found === '\\A') return '^';
    if (!multiline && found === '\\z') return '$';
    if (found === '\\A' || found === '\\z' || found === '\\C') throw new SyntaxError(found);
    return found;
  });
}
