/**
 * Filters as containerd's list calls and event subscriptions take them:
 *
 *     filter   := selector ("," selector)*          all of them hold
 *     selector := path [operator value]             without an operator: the path is present
 *     path     := field ("." field)*
 *     field    := letters, digits, "_" | quoted
 *     operator := "==" | "!=" | "~="                "~=" is a regular expression, found anywhere
 *     value    := quoted | everything up to "," or white space
 *     quoted   := "…" with Go's escapes; behind "~=" also /…/ and |…|
 */
import { Scanner } from './scanner.ts';
import type { Token } from './scanner.ts';
import { unquote } from './unquote.ts';

/** What a selector asks of the value at its path. */
export type Operator = 'present' | '==' | '!=' | '~=';

export interface Selector {
  readonly path: readonly string[];
  readonly operator: Operator;
  /** What to compare with, or the regular expression; '' for `present`. */
  readonly value: string;
}

/** The selectors of one filter, none for ''. Throws invalid argument naming the place of the error. */
export function parseFilter(filter: string): readonly Selector[] {
  if (filter === '') return [];
  return new Parser(filter).filter();
}

class Parser {
  readonly #scanner: Scanner;
  #token: Token;

  constructor(filter: string) {
    this.#scanner = new Scanner(filter);
    this.#token = this.#scanner.next();
  }

  filter(): Selector[] {
    const selectors = [this.#selector()];
    while (this.#token.kind === 'separator' && this.#token.text === ',') {
      this.#advance();
      selectors.push(this.#selector());
    }
    if (this.#token.kind !== 'end') this.#fail(`unexpected input: ${this.#token.text}`);
    return selectors;
  }

  #selector(): Selector {
    const path = [this.#field()];
    while (this.#token.kind === 'separator' && this.#token.text === '.') {
      this.#advance();
      path.push(this.#field());
    }
    if (this.#token.kind === 'end' || this.#token.text === ',') return { path, operator: 'present', value: '' };
    const operator = this.#operator();
    return { path, operator, value: this.#value(operator === '~=') };
  }

  #field(): string {
    if (this.#token.kind === 'quoted') return this.#quoted(false);
    if (this.#token.kind !== 'field') this.#fail('expected field or quoted');
    const { text } = this.#token;
    this.#advance();
    return text;
  }

  #operator(): Exclude<Operator, 'present'> {
    const { kind, text } = this.#token;
    if (kind !== 'operator') this.#fail('expected an operator ("=="|"!="|"~=")');
    if (text !== '==' && text !== '!=' && text !== '~=') this.#fail(`unsupported operator ${JSON.stringify(text)}`);
    this.#advance(true);
    return text;
  }

  #value(isExpression: boolean): string {
    if (this.#token.kind === 'quoted') return this.#quoted(isExpression);
    if (this.#token.kind !== 'value') this.#fail('expected value or quoted');
    const { text } = this.#token;
    this.#advance();
    return text;
  }

  #quoted(anyQuote: boolean): string {
    const { text } = this.#token;
    if (!anyQuote && !text.startsWith('"')) this.#fail('invalid quote encountered');
    const value = unquote(text);
    if (value === undefined) this.#fail('illegal escape sequence');
    this.#advance();
    return value;
  }

  #advance(expectValue = false): void {
    this.#token = this.#scanner.next(expectValue);
  }

  #fail(reason: string): never {
    throw this.#scanner.error(this.#token.at, reason);
  }
}
