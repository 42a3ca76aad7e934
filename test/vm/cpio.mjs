// Writes an initramfs archive: cpio in the "newc" format (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst).
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';

const types = { directory: 0o040000, file: 0o100000, link: 0o120000 };

/** Adds entries to an archive file; `close` ends it and gives its size in bytes. */
export class CpioWriter {
  #fd;
  #inode = 1;
  #sizeBytes = 0;
  #directories = new Set();

  constructor(path) {
    this.#fd = openSync(path, 'wx');
  }

  /** A directory and those above it, each once. */
  directory(path) {
    const parts = path.split('/').filter((part) => part !== '');
    for (let depth = 1; depth <= parts.length; depth++) {
      const name = parts.slice(0, depth).join('/');
      if (this.#directories.has(name)) continue;
      this.#directories.add(name);
      this.#entry(name, types.directory | 0o755, Buffer.alloc(0));
    }
  }

  /** A regular file with the content of one on this machine. */
  copy(path, source, mode = 0o644) {
    this.file(path, readFileSync(source), mode);
  }

  file(path, content, mode = 0o644) {
    this.#parent(path);
    this.#entry(path, types.file | mode, Buffer.from(content));
  }

  link(path, target) {
    this.#parent(path);
    this.#entry(path, types.link | 0o777, Buffer.from(target));
  }

  close() {
    this.#entry('TRAILER!!!', 0, Buffer.alloc(0));
    closeSync(this.#fd);
    return this.#sizeBytes;
  }

  #parent(path) {
    this.directory(path.slice(0, path.lastIndexOf('/') + 1));
  }

  #entry(path, mode, content) {
    const name = path.startsWith('/') ? path.slice(1) : path;
    const links = 1;
    const fields = [this.#inode++, mode, 0, 0, links, 0, content.length, 0, 0, 0, 0, Buffer.byteLength(name) + 1, 0];
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${name}\0`;
    this.#write(Buffer.from(header));
    this.#write(content);
  }

  /** Header with name, and content, each begin at a multiple of 4. */
  #write(bytes) {
    const padding = Buffer.alloc((4 - (bytes.length % 4)) % 4);
    for (const part of [bytes, padding]) {
      for (let done = 0; done < part.length;) done += writeSync(this.#fd, part, done);
      this.#sizeBytes += part.length;
    }
  }
}
