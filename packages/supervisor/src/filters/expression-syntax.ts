/**
 * The syntax of RE2's regular expressions (https://github.com/google/re2/wiki/Syntax), as far as it decides whether
 * something matches: groups do not capture and greed does not matter.
 */
import { invalidArgument } from '@gantry/errors';
import { classEscape, namedClass, unicodeClass } from './expression-classes.ts';
import type { CharacterTest } from './expression-classes.ts';

/** An expression as a tree. Characters are code points. */
export type Expression =
  | { readonly kind: 'character'; readonly test: CharacterTest }
  | { readonly kind: 'assertion'; readonly test: Assertion }
  | { readonly kind: 'sequence'; readonly parts: readonly Expression[] }
  | { readonly kind: 'choice'; readonly parts: readonly Expression[] }
  | { readonly kind: 'repeat'; readonly part: Expression; readonly min: number; readonly max: number | undefined };

/** Looks at the characters before and after a place; undefined at the ends of the text. */
export type Assertion = (before: number | undefined, after: number | undefined) => boolean;

/** RE2's limit for a counted repetition. */
const maximumCount = 1000;

/** How deep groups may be nested. */
const maximumDepth = 200;

const lineFeed = 10;
const simpleEscapes: ReadonlyMap<string, number> = new Map([
  ['a', 7],
  ['f', 12],
  ['n', 10],
  ['r', 13],
  ['t', 9],
  ['v', 11],
]);

interface Flags {
  readonly ignoreCase: boolean;
  readonly multiline: boolean;
  readonly dotAll: boolean;
}

/** Parses an expression. Throws invalid argument for what RE2 would refuse. */
export function parseExpression(source: string): Expression {
  const parser = new Parser(source);
  const expression = parser.choice({ ignoreCase: false, multiline: false, dotAll: false }, 0);
  parser.mustBeAtEnd();
  return expression;
}

class Parser {
  readonly #source: string;
  #at = 0;

  constructor(source: string) {
    this.#source = source;
  }

  mustBeAtEnd(): void {
    if (this.#at < this.#source.length) this.#fail('unexpected )');
  }

  choice(flags: Flags, depth: number): Expression {
    if (depth > maximumDepth) this.#fail('nested too deep');
    const parts: Expression[] = [];
    let current = flags;
    do {
      const sequence: Expression[] = [];
      while (this.#at < this.#source.length && this.#peek() !== '|' && this.#peek() !== ')') {
        const item = this.#item(current, depth);
        if ('flags' in item) current = item.flags;
        else sequence.push(this.#repeated(item));
      }
      parts.push({ kind: 'sequence', parts: sequence });
    } while (this.#take('|'));
    return { kind: 'choice', parts };
  }

  #item(flags: Flags, depth: number): Expression | { flags: Flags } {
    if (this.#take('(')) return this.#group(flags, depth);
    if (this.#take('[')) return { kind: 'character', test: this.#bracket(flags) };
    if (this.#take('.')) return { kind: 'character', test: (c) => flags.dotAll || c !== lineFeed };
    if (this.#take('^')) return { kind: 'assertion', test: flags.multiline ? atLineStart : atTextStart };
    if (this.#take('$')) return { kind: 'assertion', test: flags.multiline ? atLineEnd : atTextEnd };
    if (/[*+?]/.test(this.#peek())) this.#fail('missing argument to repetition operator');
    if (this.#take('\\')) return this.#escape(flags);
    return { kind: 'character', test: literal(this.#codePoint(), flags) };
  }

  #group(flags: Flags, depth: number): Expression | { flags: Flags } {
    let inner = flags;
    if (this.#take('?')) {
      const name = this.#match(/P?<[A-Za-z0-9_]+>/y);
      if (name === undefined) {
        const [, on = '', off = '', end = ''] = this.#matchParts(/([imsU]*)(?:-([imsU]+))?([:)])/y) ?? [];
        if (end === '') this.#fail('invalid or unsupported group');
        inner = {
          ignoreCase: (flags.ignoreCase || on.includes('i')) && !off.includes('i'),
          multiline: (flags.multiline || on.includes('m')) && !off.includes('m'),
          dotAll: (flags.dotAll || on.includes('s')) && !off.includes('s'),
        };
        if (end === ')') return { flags: inner };
      }
    }
    const group = this.choice(inner, depth + 1);
    if (!this.#take(')')) this.#fail('missing )');
    return group;
  }

  #repeated(part: Expression): Expression {
    const count = this.#count();
    if (count === undefined) return part;
    this.#take('?');
    if (this.#count() !== undefined) this.#fail('invalid nested repetition operator');
    return { kind: 'repeat', part, ...count };
  }

  /** A repetition operator; braces that are none are literal text. */
  #count(): { min: number; max: number | undefined } | undefined {
    if (this.#take('*')) return { min: 0, max: undefined };
    if (this.#take('+')) return { min: 1, max: undefined };
    if (this.#take('?')) return { min: 0, max: 1 };
    const [, low, comma, high = ''] = this.#matchParts(/\{(\d+)(,?)(\d*)\}/y) ?? [];
    if (low === undefined) return undefined;
    const min = Number(low);
    const max = high === '' ? (comma === '' ? min : undefined) : Number(high);
    if (min > maximumCount || (max ?? 0) > maximumCount || (max ?? min) < min) this.#fail('invalid repeat count');
    return { min, max };
  }

  #escape(flags: Flags): Expression {
    if (this.#take('A')) return { kind: 'assertion', test: atTextStart };
    if (this.#take('z')) return { kind: 'assertion', test: atTextEnd };
    if (this.#take('b')) return { kind: 'assertion', test: atWordBoundary };
    if (this.#take('B')) {
      return { kind: 'assertion', test: (before, after) => !atWordBoundary(before, after) };
    }
    if (this.#take('Q')) {
      const end = this.#source.indexOf('\\E', this.#at);
      const text = this.#source.slice(this.#at, end === -1 ? undefined : end);
      this.#at = end === -1 ? this.#source.length : end + 2;
      const parts = [...text].map((character): Expression => {
        return { kind: 'character', test: literal(character.codePointAt(0) ?? 0, flags) };
      });
      return { kind: 'sequence', parts };
    }
    const escaped = this.#classOrCharacter(flags);
    return { kind: 'character', test: typeof escaped === 'number' ? literal(escaped, flags) : escaped };
  }

  /** What follows a backslash, inside of brackets and outside: a class, or one character. */
  #classOrCharacter(flags: Flags): CharacterTest | number {
    const unicode = this.#matchParts(/([pP])(?:\{(\^?)(\w+)\}|([A-Z]))/y);
    if (unicode !== undefined) {
      const [, letter, caret, long, short] = unicode;
      const test = unicodeClass(long ?? short ?? '') ?? this.#fail('unknown character class');
      return negateIf((letter === 'P') !== (caret === '^'), folded(test, flags));
    }
    const perl = classEscape(this.#peek());
    if (perl !== undefined) {
      this.#at++;
      return perl;
    }
    const [, hex, byte, octal] =
      this.#matchParts(/x\{([0-9A-Fa-f]{1,8})\}|x([0-9A-Fa-f]{2})|([0-7]{3}|0[0-7]?)/y) ?? [];
    const digits = hex ?? byte;
    if (digits !== undefined) return Number.parseInt(digits, 16);
    if (octal !== undefined) return Number.parseInt(octal, 8);
    const simple = simpleEscapes.get(this.#peek());
    if (simple !== undefined) {
      this.#at++;
      return simple;
    }
    if (this.#peek() === '' || /[A-Za-z0-9]/.test(this.#peek())) this.#fail('invalid escape sequence');
    return this.#codePoint();
  }

  /** The inside of brackets; `]` is literal when it comes first. */
  #bracket(flags: Flags): CharacterTest {
    const negated = this.#take('^');
    const tests: CharacterTest[] = [];
    do {
      tests.push(this.#bracketPart(flags));
      if (this.#at >= this.#source.length) this.#fail('missing closing ]');
    } while (!this.#take(']'));
    const any: CharacterTest = (c) => tests.some((test) => test(c));
    return negateIf(negated, folded(any, flags));
  }

  #bracketPart(flags: Flags): CharacterTest {
    const named = this.#matchParts(/\[:(\^?)(\w+):\]/y);
    if (named !== undefined) {
      const [, caret, name = ''] = named;
      return negateIf(caret === '^', namedClass(name) ?? this.#fail('invalid character class'));
    }
    const low = this.#bracketEnd(flags);
    if (typeof low !== 'number') return low;
    const isRange = this.#peek() === '-' && this.#at + 1 < this.#source.length && this.#source[this.#at + 1] !== ']';
    if (!isRange) return (c) => c === low;
    this.#at++;
    const high = this.#bracketEnd(flags);
    if (typeof high !== 'number' || high < low) this.#fail('invalid character class range');
    return (c) => c >= low && c <= high;
  }

  #bracketEnd(flags: Flags): CharacterTest | number {
    return this.#take('\\') ? this.#classOrCharacter(flags) : this.#codePoint();
  }

  #codePoint(): number {
    const code = this.#source.codePointAt(this.#at);
    if (code === undefined) this.#fail('unexpected end');
    this.#at += String.fromCodePoint(code).length;
    return code;
  }

  #peek(): string {
    return this.#source.charAt(this.#at);
  }

  #take(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#at++;
    return true;
  }

  #match(pattern: RegExp): string | undefined {
    return this.#matchParts(pattern)?.[0];
  }

  /** What a sticky pattern finds here; it is consumed. */
  #matchParts(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#source);
    if (found === null) return undefined;
    this.#at = pattern.lastIndex;
    return found;
  }

  #fail(reason: string): never {
    throw invalidArgument(`regular expression ${JSON.stringify(this.#source)}: ${reason}`);
  }
}

function literal(code: number, flags: Flags): CharacterTest {
  return folded((c) => c === code, flags);
}

/** With the flag `i` a character counts in either case. */
function folded(test: CharacterTest, { ignoreCase }: Flags): CharacterTest {
  if (!ignoreCase) return test;
  return (c) => {
    const text = String.fromCodePoint(c);
    return test(c) || test(text.toLowerCase().codePointAt(0) ?? c) || test(text.toUpperCase().codePointAt(0) ?? c);
  };
}

function negateIf(negated: boolean, test: CharacterTest): CharacterTest {
  return negated ? (c) => !test(c) : test;
}

function atTextStart(before: number | undefined): boolean {
  return before === undefined;
}

function atTextEnd(_before: number | undefined, after: number | undefined): boolean {
  return after === undefined;
}

function atLineStart(before: number | undefined): boolean {
  return before === undefined || before === lineFeed;
}

function atLineEnd(_before: number | undefined, after: number | undefined): boolean {
  return after === undefined || after === lineFeed;
}

function atWordBoundary(before: number | undefined, after: number | undefined): boolean {
  return isWord(before) !== isWord(after);
}

function isWord(c: number | undefined): boolean {
  return c !== undefined && classEscape('w')?.(c) === true;
}
