/**
 * How a pull or push goes, as people know it from docker: on a terminal a line a layer with a bar, repainted in place;
 * elsewhere a line for each change of state.
 */
import type { TransferProgress } from '@gantry/client';
import { visible } from '../output/table.ts';
import { decimalSize } from '../output/units.ts';

/** Where it is shown. */
export interface Screen {
  readonly write: (text: string) => void;
  /** Columns; undefined when it is no terminal. */
  readonly columns: number | undefined;
  /** Rows of the terminal; what does not fit is not repainted. */
  readonly rows?: number | undefined;
}

/** What the server's words mean to people, by direction; others are not shown. */
const words: Readonly<Record<'pull' | 'push', ReadonlyMap<string, string>>> = {
  pull: new Map([
    ['waiting', 'Waiting'],
    ['downloading', 'Downloading'],
    ['complete', 'Download complete'],
    ['already exists', 'Already exists'],
    ['extracting', 'Extracting'],
    ['extracted', 'Pull complete'],
  ]),
  push: new Map([
    ['waiting', 'Waiting'],
    ['uploading', 'Pushing'],
    ['complete', 'Pushed'],
    ['already exists', 'Layer already exists'],
    ['skipped', 'Skipped foreign layer'],
  ]),
};

const counted: ReadonlySet<string> = new Set(['Downloading', 'Pushing']);
const repaintMs = 100;
const barColumns = 50;

interface Line {
  readonly id: string;
  state: string;
  progress: number;
  total: number;
}

export class TransferView {
  readonly #direction: 'pull' | 'push';
  readonly #screen: Screen;
  readonly #lines = new Map<string, Line>();
  #painted = 0;
  #paintedMs = 0;

  constructor(direction: 'pull' | 'push', screen: Screen) {
    this.#direction = direction;
    this.#screen = screen;
  }

  /** Takes news of the server. */
  update({ event, name, digest, progress, total }: TransferProgress): void {
    const state = words[this.#direction].get(event);
    if (state === undefined || !name.startsWith('layer-')) return;
    const id = digest.replace(/^[^:]*:/, '').slice(0, 12);
    const line = this.#lines.get(digest) ?? { id, state: '', progress: 0, total: 0 };
    this.#lines.set(digest, line);
    const isNew = line.state !== state;
    line.state = state;
    line.progress = Number(progress);
    line.total = Number(total);
    if (this.#screen.columns === undefined) {
      if (isNew) this.#screen.write(`${visible(id)}: ${state}\n`);
    } else if (isNew || performance.now() - this.#paintedMs >= repaintMs) {
      this.#paint();
    }
  }

  /** Paints what is left to be painted. `state`: what layers are in the end whose last news was that they have come. */
  end(state?: 'Pull complete'): void {
    for (const line of this.#lines.values()) {
      if (state === undefined || line.state !== 'Download complete') continue;
      line.state = state;
      if (this.#screen.columns === undefined) this.#screen.write(`${visible(line.id)}: ${state}\n`);
    }
    if (this.#screen.columns !== undefined && this.#lines.size > 0) this.#paint();
  }

  #paint(): void {
    const columns = this.#screen.columns ?? 0;
    // What has scrolled off the top cannot be reached again: the last lines are shown, one row is the cursor's.
    const fit = Math.max(1, (this.#screen.rows ?? Infinity) - 1);
    const lines = [...this.#lines.values()].slice(-Math.min(fit, this.#lines.size));
    const text = lines.map((line) => `\r\u001b[K${shown(line, columns)}\n`).join('');
    this.#screen.write(`${this.#painted === 0 ? '' : `\u001b[${this.#painted}A`}${text}`);
    this.#painted = lines.length;
    this.#paintedMs = performance.now();
  }
}

/** `a3d95bf36979: Downloading [====>   ]  1.2MB/3.4MB`, no wider than the terminal: a line that wraps cannot be repainted. */
function shown({ id, state, progress, total }: Line, columns: number): string {
  const head = `${visible(id)}: ${state}`;
  if (!counted.has(state) || total <= 0) return head.slice(0, columns);
  const numbers = `${decimalSize(progress)}/${decimalSize(total)}`;
  const room = Math.min(barColumns, columns - head.length - numbers.length - 5);
  if (room < 5) return `${head} ${numbers}`.slice(0, columns);
  const done = Math.min(room, Math.floor((room * progress) / total));
  const bar = `${'='.repeat(Math.max(0, done - 1))}${done > 0 ? '>' : ''}`.padEnd(room);
  return `${head} [${bar}] ${numbers}`;
}
