/** The character classes of RE2: Perl's, POSIX's and Unicode's. */

/** Whether a code point belongs. */
export type CharacterTest = (codePoint: number) => boolean;

type Ranges = readonly (readonly [low: number, high: number])[];

const digit: Ranges = [[0x30, 0x39]];
const upper: Ranges = [[0x41, 0x5a]];
const lower: Ranges = [[0x61, 0x7a]];
const alpha: Ranges = [...upper, ...lower];
const word: Ranges = [...digit, ...alpha, [0x5f, 0x5f]];

const perl: ReadonlyMap<string, Ranges> = new Map([
  ['d', digit],
  ['w', word],
  [
    's',
    [
      [0x09, 0x0a],
      [0x0c, 0x0d],
      [0x20, 0x20],
    ],
  ],
]);

const posix: ReadonlyMap<string, Ranges> = new Map<string, Ranges>([
  ['alnum', [...digit, ...alpha]],
  ['alpha', alpha],
  ['ascii', [[0, 0x7f]]],
  [
    'blank',
    [
      [0x09, 0x09],
      [0x20, 0x20],
    ],
  ],
  [
    'cntrl',
    [
      [0, 0x1f],
      [0x7f, 0x7f],
    ],
  ],
  ['digit', digit],
  ['graph', [[0x21, 0x7e]]],
  ['lower', lower],
  ['print', [[0x20, 0x7e]]],
  [
    'punct',
    [
      [0x21, 0x2f],
      [0x3a, 0x40],
      [0x5b, 0x60],
      [0x7b, 0x7e],
    ],
  ],
  [
    'space',
    [
      [0x09, 0x0d],
      [0x20, 0x20],
    ],
  ],
  ['upper', upper],
  ['word', word],
  [
    'xdigit',
    [
      [0x30, 0x39],
      [0x41, 0x46],
      [0x61, 0x66],
    ],
  ],
]);

/** `\d \w \s` and their negations in capitals; undefined for another letter. */
export function classEscape(letter: string): CharacterTest | undefined {
  const ranges = perl.get(letter.toLowerCase());
  if (ranges === undefined) return undefined;
  const test = within(ranges);
  return letter === letter.toLowerCase() ? test : (c) => !test(c);
}

/** `[:name:]`; undefined when there is no such class. */
export function namedClass(name: string): CharacterTest | undefined {
  const ranges = posix.get(name);
  return ranges === undefined ? undefined : within(ranges);
}

/** `\p{name}`: a general category or a script; undefined when Unicode has no such thing. */
export function unicodeClass(name: string): CharacterTest | undefined {
  if (name === 'Any') return () => true;
  if (!/^\w+$/.test(name)) return undefined;
  for (const property of [`General_Category=${name}`, `Script=${name}`]) {
    try {
      // One character at a time: this pattern has nothing to backtrack into.
      const pattern = new RegExp(`^\\p{${property}}$`, 'u');
      return (c) => pattern.test(String.fromCodePoint(c));
    } catch {
      // Not a value of this property.
    }
  }
  return undefined;
}

function within(ranges: Ranges): CharacterTest {
  return (c) => ranges.some(([low, high]) => c >= low && c <= high);
}
