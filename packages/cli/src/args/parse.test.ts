import t from 'tap';
import { commands } from '../commands/index.ts';
import { globalFlags } from './command.ts';
import { commandHelp, generalHelp } from './help.ts';
import { nearest } from './nearest.ts';
import { flagsOf, parseCommandLine } from './parse.ts';

/** What a line means; throws what the user would see. */
function parse(line: string): { name: string; args: readonly string[]; get: (flag: string) => unknown } {
  const request = parseCommandLine(line.split(' '), commands);
  if (request.kind !== 'run') throw new Error('help was asked for');
  const { booleans, strings, lists, args } = request.parsed;
  return {
    name: request.command.name,
    args,
    get: (flag) => booleans.get(flag) ?? strings.get(flag) ?? lists.get(flag),
  };
}

t.test('everything after the image belongs to the container', (t) => {
  const run = parse('run --rm -it -e A=1 --env B=2 --memory=64m box sh -c -x --rm');
  t.equal(run.name, 'run');
  t.same(run.args, ['box', 'sh', '-c', '-x', '--rm']);
  t.same(run.get('env'), ['A=1', 'B=2']);
  t.equal(run.get('memory'), '64m');
  t.ok(run.get('rm') === true && run.get('interactive') === true && run.get('tty') === true);
  t.same(parse('exec -u 0 web ps -a').args, ['web', 'ps', '-a']);
  t.end();
});

t.test('global flags stand before the verb or after it; the verb has the first right to a letter', (t) => {
  t.equal(parse('-n ns -a /x.sock ps').get('namespace'), 'ns');
  t.equal(parse('ps -n ns').get('namespace'), 'ns');
  const ps = parse('-a /x.sock ps -a -q');
  t.equal(ps.get('address'), '/x.sock');
  t.equal(ps.get('all'), true);
  t.equal(parse('stop -t 3 web').get('time'), '3');
  t.end();
});

t.test('a noun form is two words, and aliases are known', (t) => {
  t.equal(parse('namespace ls').name, 'namespace ls');
  t.equal(parse('ns ls').name, 'namespace ls');
  t.equal(parse('image ls').name, 'images');
  t.throws(() => parse('namespace'), { message: '"namespace" needs one of: ls, create, label, rm' });
  t.end();
});

t.test('a mistake is named with the nearest thing known', (t) => {
  t.throws(() => parse('run --memroy 1g box'), { message: 'unknown flag --memroy; did you mean --memory?' });
  t.throws(() => parse('run --zzzzzzzzz box'), { message: 'unknown flag --zzzzzzzzz' });
  t.throws(() => parse('run -Z box'), { message: 'unknown flag -Z' });
  t.throws(() => parse('rnu box'), { message: 'unknown command "rnu"; did you mean "run"?' });
  t.throws(() => parse('--adress /x ps'), { message: 'unknown flag --adress; did you mean --address?' });
  t.throws(() => parse('run --memory'), { message: /^flag --memory needs a value/ });
  t.throws(() => parse('run --rm=maybe box'), { message: 'flag --rm is true or false, not "maybe"' });
  t.equal(parse('run --rm=false box').get('rm'), false);
  t.end();
});

t.test('the number of arguments is checked', (t) => {
  t.throws(() => parse('run'), { message: 'usage: gantry run [flags] IMAGE [COMMAND] [ARG...]' });
  t.throws(() => parse('tag a'), { message: 'usage: gantry tag [flags] IMAGE NAME' });
  t.throws(() => parse('ps x'), { message: 'usage: gantry ps [flags]' });
  t.end();
});

t.test('help is there for every command and names every flag', (t) => {
  t.equal(parseCommandLine([], commands).kind, 'help');
  t.equal(parseCommandLine(['run', '--help'], commands).kind, 'help');
  t.match(parseCommandLine(['help', 'ps'], commands), { kind: 'help', command: { name: 'ps' } });
  const general = generalHelp(commands);
  for (const command of commands) {
    t.ok(general.includes(command.summary), command.name);
    for (const flag of Object.keys(command.flags)) t.ok(commandHelp(command).includes(`--${flag}`), flag);
  }
  t.end();
});

t.test('no command uses a letter twice', (t) => {
  for (const command of commands) {
    const letters = Object.values(flagsOf(command)).flatMap(({ short }) => (short === undefined ? [] : [short]));
    t.same(letters.toSorted(), [...new Set(letters)].toSorted(), command.name);
    t.same(
      Object.keys(command.flags).filter((name) => name in globalFlags),
      [],
      `${command.name} hides no global flag`,
    );
  }
  t.end();
});

t.test('nearest: slips are found, other words are not', (t) => {
  t.equal(nearest('memry', ['name', 'memory']), 'memory');
  t.equal(nearest('qqqqqq', ['name', 'memory']), undefined);
  t.end();
});
