/**
 * The wire contract must not change by accident: numbers, names, types and labels of every package of `proto/` are held
 * against the fingerprints in `proto/contract.json`. A fingerprint changes only together with a reason to change it.
 */
import t from 'tap';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { loadDescriptors } from './descriptors.ts';

type Json = Readonly<Record<string, unknown>>;

const list = (value: unknown): readonly Json[] => (Array.isArray(value) ? (value as Json[]) : []);
const text = (value: unknown): string => (typeof value === 'string' || typeof value === 'number' ? String(value) : '');

/** One line for everything a peer can notice, in any order. */
function* lines(scope: string, node: Json): Generator<string> {
  for (const message of [...list(node['messageType']), ...list(node['nestedType'])]) {
    const name = `${scope}.${text(message['name'])}`;
    yield `message ${name}`;
    for (const field of list(message['field'])) {
      const parts = ['number', 'name', 'type', 'typeName', 'label', 'oneofIndex'].map((key) => text(field[key]));
      yield `field ${name} ${parts.join(' ')} ${field['proto3Optional'] === true ? 'optional' : ''}`;
    }
    yield* lines(name, message);
  }
  for (const type of list(node['enumType'])) {
    for (const value of list(type['value'])) {
      yield `enum ${scope}.${text(type['name'])} ${text(value['name'])} ${text(value['number'])}`;
    }
  }
  for (const service of list(node['service'])) {
    for (const method of list(service['method'])) {
      const streams = [method['clientStreaming'] === true, method['serverStreaming'] === true].join(' ');
      const types = `${text(method['inputType'])} ${text(method['outputType'])}`;
      yield `method ${scope}.${text(service['name'])} ${text(method['name'])} ${types} ${streams}`;
    }
  }
}

t.test('the wire contract is the one that was agreed on', async (t) => {
  const { file } = await loadDescriptors();
  const byPackage = new Map<string, string[]>();
  for (const descriptor of file) {
    const known = byPackage.get(descriptor.package) ?? [];
    byPackage.set(descriptor.package, [...known, ...lines(descriptor.package, descriptor as unknown as Json)]);
  }
  const found = Object.fromEntries(
    [...byPackage]
      .map(([name, all]): [string, string] => {
        const canonical = all.toSorted().join('\n');
        return [
          name,
          `${all.length} lines, sha256 ${createHash('sha256').update(canonical).digest('hex').slice(0, 32)}`,
        ];
      })
      .toSorted(([a], [b]) => (a < b ? -1 : 1)),
  );
  const agreed: unknown = JSON.parse(await readFile(new URL('../../../proto/contract.json', import.meta.url), 'utf8'));
  t.same(found, agreed);
});
