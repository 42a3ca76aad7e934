/** WWW-Authenticate (RFC 9110 §11.6.1): what a server wants to see before it answers. */

export interface Challenge {
  /** Lower case: `bearer`, `basic`. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: Readonly<Record<string, string>>;
}

/** Longer headers are not looked at further. */
const maximumLength = 16 * 1024;

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+/;
const quoted = /^"((?:[^"\\]|\\.)*)"/;

/**
 * All challenges of the headers, in their order. What is malformed ends the header it is in; nothing is thrown.
 * Both separators are commas, so a name followed by `=` belongs to the challenge before it.
 */
export function parseChallenges(headers: readonly string[]): Challenge[] {
  return headers.flatMap((header) => parseHeader(header.slice(0, maximumLength)));
}

function parseHeader(header: string): Challenge[] {
  const challenges: { scheme: string; parameters: Record<string, string> }[] = [];
  let rest = header;
  for (;;) {
    rest = rest.replace(/^[\s,]+/, '');
    const name = token.exec(rest)?.[0];
    if (name === undefined) return challenges;
    rest = rest.slice(name.length);
    const equals = /^\s*=\s*/.exec(rest)?.[0];
    const current = challenges.at(-1);
    if (equals === undefined) {
      challenges.push({ scheme: name.toLowerCase(), parameters: {} });
      continue;
    }
    rest = rest.slice(equals.length);
    const text = quoted.exec(rest);
    const [whole, value] = text ? [text[0], (text[1] ?? '').replaceAll(/\\(.)/g, '$1')] : bare(rest);
    if (whole === '' || current === undefined) return challenges;
    rest = rest.slice(whole.length);
    const key = name.toLowerCase();
    if (!Object.hasOwn(current.parameters, key)) current.parameters[key] = value;
  }
}

/** Some servers leave the quotes out, also where a URL needs them. */
function bare(rest: string): readonly [string, string] {
  const value = /^[^\s,"]+/.exec(rest)?.[0] ?? '';
  return [value, value];
}
