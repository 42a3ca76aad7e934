/** Writes small ustar archives plainly, so that the product's own writer is not its own judge. */

/** `body` of a link is its target. */
export interface PlainEntry {
  readonly name: string;
  readonly type?: 'file' | 'directory' | 'symlink' | 'hardlink';
  readonly body?: Buffer | string;
  readonly mode?: number;
}

const typeFlags = { file: '0', hardlink: '1', symlink: '2', directory: '5' } as const;

export function tarBytes(entries: readonly PlainEntry[]): Buffer {
  const blocks = entries.flatMap((entry) => {
    const type = entry.type ?? 'file';
    const link = type === 'symlink' || type === 'hardlink' ? String(entry.body ?? '') : '';
    const body = type === 'file' ? Buffer.from(entry.body ?? '') : Buffer.alloc(0);
    const padding = Buffer.alloc((512 - (body.length % 512)) % 512);
    return [headerOf(entry.name, typeFlags[type], entry.mode ?? 0o755, body.length, link), body, padding];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

function headerOf(name: string, flag: string, mode: number, sizeBytes: number, link: string): Buffer {
  const block = Buffer.alloc(512);
  const octal = (value: number, at: number, width: number): void => {
    block.write(`${value.toString(8).padStart(width - 1, '0')}\0`, at, 'latin1');
  };
  block.write(name, 0, 100, 'utf8');
  octal(mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(sizeBytes, 124, 12);
  octal(0, 136, 12);
  block.write('        ', 148, 'latin1');
  block.write(flag, 156, 'latin1');
  block.write(link, 157, 100, 'utf8');
  block.write('ustar\x0000', 257, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}
