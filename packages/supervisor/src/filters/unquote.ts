/** Reading quoted text with the escapes of the Go language specification ("String literals"). */

const single: Readonly<Record<string, number>> = { a: 7, b: 8, f: 12, n: 10, r: 13, t: 9, v: 11, '\\': 92 };

/** How many digits follow, in which base, and whether they are a byte or a code point. */
const numeric: Readonly<Record<string, readonly [digits: number, byte: boolean]>> = {
  x: [2, true],
  u: [4, false],
  U: [8, false],
};

/**
 * The text between the quotes of `literal`; its first character is the quote. Undefined when an escape is illegal.
 * `\xhh` and `\ooo` are bytes of UTF-8, as in Go.
 */
export function unquote(literal: string): string | undefined {
  const quote = literal.slice(0, 1);
  const body = literal.slice(1, -1);
  if (!body.includes('\\')) return body;
  const pieces: Buffer[] = [];
  for (let at = 0; at < body.length;) {
    const backslash = body.indexOf('\\', at);
    const end = backslash === -1 ? body.length : backslash;
    pieces.push(Buffer.from(body.slice(at, end)));
    if (end === body.length) break;
    const escape = readEscape(body.slice(end + 1), quote);
    if (escape === undefined) return undefined;
    pieces.push(escape.bytes);
    at = end + 1 + escape.length;
  }
  return Buffer.concat(pieces).toString('utf8');
}

/** What stands behind a backslash: its bytes and how many characters it takes. */
function readEscape(text: string, quote: string): { bytes: Buffer; length: number } | undefined {
  const letter = text.slice(0, 1);
  if (letter === quote && letter !== '') return { bytes: Buffer.from(quote), length: 1 };
  const code = Object.hasOwn(single, letter) ? single[letter] : undefined;
  if (code !== undefined) return { bytes: Buffer.of(code), length: 1 };
  const octal = /^[0-7]{3}/.exec(text)?.[0];
  if (octal !== undefined) {
    const value = Number.parseInt(octal, 8);
    return value > 255 ? undefined : { bytes: Buffer.of(value), length: 3 };
  }
  const rule = Object.hasOwn(numeric, letter) ? numeric[letter] : undefined;
  if (rule === undefined) return undefined;
  const [digits, byte] = rule;
  const hex = text.slice(1, 1 + digits);
  if (hex.length !== digits || !/^[0-9A-Fa-f]+$/.test(hex)) return undefined;
  const value = Number.parseInt(hex, 16);
  if (byte) return { bytes: Buffer.of(value), length: 1 + digits };
  if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return undefined;
  return { bytes: Buffer.from(String.fromCodePoint(value)), length: 1 + digits };
}
