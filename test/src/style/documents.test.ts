/** What READMEs and documents say of the tree is true: every file that they name is there, every room says what lives in it. */
import t from 'tap';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { checkout } from '../index.ts';

/** Folders that are made, not written. */
const made = new Set(['node_modules', 'dist', '.git', '.tap', '.cache', 'npm-packages']);

function filesBelow(dir: string): string[] {
  return readdirSync(path.join(checkout, dir), { withFileTypes: true }).flatMap((entry) => {
    const name = path.join(dir, entry.name);
    if (entry.isDirectory()) return made.has(entry.name) ? [] : filesBelow(name);
    return [name];
  });
}

const files = filesBelow('.');
const documents = files.filter((file) => file.endsWith('.md') && path.basename(file) !== 'CHANGELOG.md');

/** Files that are named in `backticks` by their path or their end of it, and targets of links; those that are made are passed over. */
function namesIn(document: string): string[] {
  const text = readFileSync(path.join(checkout, document), 'utf8');
  const quoted = [...text.matchAll(/`([\w./-]+\.(?:ts|mjs|cjs|sh|proto|md))`/g)].map(([, name = '']) => name);
  const linked = [...text.matchAll(/\]\(([^)#\s:]+)(?:#[^)]*)?\)/g)].map(([, name = '']) => name);
  return [...quoted, ...linked].filter(
    (name) => !name.split('/').some((part) => made.has(part)) && !name.startsWith('/'),
  );
}

function isThere(document: string, name: string): boolean {
  const room = path.dirname(document);
  if (existsSync(path.join(checkout, room, name)) || existsSync(path.join(checkout, name))) return true;
  const end = `/${path.normalize(name)}`;
  // A room speaks of its own files, a document of everybody's.
  const near = room === '.' || room === 'docs' ? '' : `${room}/`;
  return files.some((file) => file.startsWith(near) && `/${file}`.endsWith(end));
}

t.test('every file that a document names is there', (t) => {
  t.ok(documents.length > 20, 'documents are found');
  for (const document of documents) {
    t.same(
      namesIn(document).filter((name) => !isThere(document, name)),
      [],
      document,
    );
  }
  t.end();
});

t.test('every room has a README', (t) => {
  const rooms = readdirSync(path.join(checkout, 'packages')).map((name) => `packages/${name}`);
  for (const room of [...rooms, 'runtime', 'shim', 'test', 'bench', 'examples', 'proto']) {
    t.ok(files.includes(`${room}/README.md`), room);
  }
  t.end();
});
