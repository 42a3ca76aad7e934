/**
 * The tokens of a filter string.
 *
 * What a run of characters is depends on where it stands: where a field may stand it is letters, digits and `_`; behind
 * an operator it is everything up to `,` or white space. The parser says which of the two it expects.
 */
import { invalidArgument } from '@gantry/errors';
import type { GantryError } from '@gantry/errors';

export type TokenKind = 'end' | 'field' | 'value' | 'quoted' | 'operator' | 'separator' | 'other';

export interface Token {
  readonly kind: TokenKind;
  /** As written, quotes included. */
  readonly text: string;
  /** Where it begins in the filter. */
  readonly at: number;
}

const space = /\s/;
const fieldCharacter = /[A-Za-z0-9_]/;
const operatorCharacter = /[=!~]/;

/** Reads one filter from left to right; throws invalid argument, with the place, for what cannot be a token. */
export class Scanner {
  readonly #filter: string;
  #position = 0;

  constructor(filter: string) {
    this.#filter = filter;
    const nul = filter.indexOf('\0');
    if (nul !== -1) throw this.error(nul, 'unexpected null');
  }

  /** The next token. `expectValue` is true right behind an operator. */
  next(expectValue = false): Token {
    while (space.test(this.#character())) this.#position++;
    const at = this.#position;
    const first = this.#character();
    if (first === '') return { kind: 'end', text: '', at };
    if (first === '"' || first === '/' || first === '|') return this.#quoted(at, first);
    if (expectValue && !/[,.=!~]/.test(first)) return this.#run('value', at, (c) => c !== ',' && !space.test(c));
    if (fieldCharacter.test(first)) return this.#run('field', at, (c) => fieldCharacter.test(c));
    if (operatorCharacter.test(first)) return this.#run('operator', at, (c) => operatorCharacter.test(c));
    this.#position += first.length;
    return { kind: first === ',' || first === '.' ? 'separator' : 'other', text: first, at };
  }

  /** A parse error that shows where it is: `filters: parse error: [before >|x|< after]: reason`. */
  error(at: number, reason: string): GantryError {
    const bad = characterAt(this.#filter, at);
    const before = this.#filter.slice(0, at);
    const shown = bad === '' ? before : `${before} >|${bad}|< ${this.#filter.slice(at + bad.length)}`;
    return invalidArgument(`filters: parse error: [${shown}]: ${reason}`);
  }

  #run(kind: TokenKind, at: number, belongs: (character: string) => boolean): Token {
    for (let c = this.#character(); c !== '' && belongs(c); c = this.#character()) this.#position += c.length;
    return { kind, text: this.#filter.slice(at, this.#position), at };
  }

  #quoted(at: number, quote: string): Token {
    for (let end = at + 1; end < this.#filter.length; end++) {
      const c = this.#filter[end];
      if (c === '\n') break;
      if (c === '\\') end++;
      else if (c === quote) {
        this.#position = end + 1;
        return { kind: 'quoted', text: this.#filter.slice(at, end + 1), at };
      }
    }
    throw this.error(at, 'quoted literal not terminated');
  }

  #character(): string {
    return characterAt(this.#filter, this.#position);
  }
}

/** The whole character at a position, also where it takes two units; '' behind the end. */
function characterAt(text: string, at: number): string {
  const code = text.codePointAt(at);
  return code === undefined ? '' : String.fromCodePoint(code);
}
