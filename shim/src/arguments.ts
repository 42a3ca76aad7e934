/**
 * The command line of a shim binary, as every containerd supervisor writes it (shim protocol, "invocation"):
 *
 *   containerd-shim-gantry-v1 -namespace NS -id ID -address SOCK [-publish-binary P] [-bundle B] [-socket S] [-debug]
 *                             [start | delete | spare]
 *
 * `spare` is between gantryd and us. Flags follow Go's rules: one dash or two, `-flag value` or `-flag=value`; booleans
 * take a value only with `=`; the first word that is no flag ends them.
 */
import { invalidArgument } from '@gantry/errors';

/** What the binary is asked to do; `daemon` is the absence of an action. */
export type ShimAction = 'daemon' | 'start' | 'delete' | 'spare' | 'version' | 'info';

export interface ShimArguments {
  readonly action: ShimAction;
  readonly namespace: string;
  readonly id: string;
  /** The supervisor's gRPC socket. */
  readonly address: string;
  /** The bundle directory; the working directory when not given. */
  readonly bundle: string;
  /** Where the daemon listens; our own flag, unknown to other supervisors. */
  readonly socket: string;
  readonly debug: boolean;
}

const textFlags = ['namespace', 'id', 'address', 'publish-binary', 'bundle', 'socket'] as const;
const booleanFlags = ['debug', 'v', 'version', 'info'] as const;

type TextFlag = (typeof textFlags)[number];
type BooleanFlag = (typeof booleanFlags)[number];

/** Parses what follows the program's name. Throws invalid argument, worded as Go's flag package does. */
export function parseArguments(argv: readonly string[]): ShimArguments {
  const texts = new Map<TextFlag, string>();
  const switches = new Set<BooleanFlag>();
  let index = 0;
  for (; index < argv.length; index++) {
    const word = argv[index] ?? '';
    if (word === '--') {
      index++;
      break;
    }
    if (!word.startsWith('-') || word === '-') break;
    const { name, value } = splitFlag(word);
    if (isOneOf(booleanFlags, name)) {
      if (parseBoolean(name, value ?? 'true')) switches.add(name);
      else switches.delete(name);
      continue;
    }
    if (!isOneOf(textFlags, name)) throw invalidArgument(`flag provided but not defined: -${name}`);
    const given = value ?? argv[++index];
    if (given === undefined) throw invalidArgument(`flag needs an argument: -${name}`);
    texts.set(name, given);
  }
  return {
    action: chooseAction(switches, argv.slice(index)),
    namespace: texts.get('namespace') ?? '',
    id: texts.get('id') ?? '',
    address: texts.get('address') ?? '',
    bundle: texts.get('bundle') ?? '',
    socket: texts.get('socket') ?? '',
    debug: switches.has('debug'),
  };
}

function chooseAction(switches: ReadonlySet<BooleanFlag>, words: readonly string[]): ShimAction {
  if (switches.has('v') || switches.has('version')) return 'version';
  if (switches.has('info')) return 'info';
  const [action, extra] = words;
  if (extra !== undefined) throw invalidArgument(`unexpected argument "${extra}"`);
  if (action === undefined) return 'daemon';
  if (action === 'start' || action === 'delete' || action === 'spare') return action;
  throw invalidArgument(`unknown action "${action}"`);
}

function splitFlag(word: string): { name: string; value: string | undefined } {
  const body = word.startsWith('--') ? word.slice(2) : word.slice(1);
  const equals = body.indexOf('=');
  if (equals === 0 || body.startsWith('-')) throw invalidArgument(`bad flag syntax: ${word}`);
  return equals < 0 ? { name: body, value: undefined } : { name: body.slice(0, equals), value: body.slice(equals + 1) };
}

function parseBoolean(name: string, value: string): boolean {
  if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(value)) return true;
  if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(value)) return false;
  throw invalidArgument(`invalid boolean value "${value}" for -${name}`);
}

function isOneOf<T extends string>(names: readonly T[], name: string): name is T {
  return (names as readonly string[]).includes(name);
}
