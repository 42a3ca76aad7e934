/**
 * The shim's log: free text lines on its standard error, which is `bundle/log` or the fifo of a foreign supervisor.
 *
 * A line is written with one write(2) straight to the descriptor: Node's stream objects are not loaded for it, and a
 * fifo whose reader is away (EAGAIN) or a full disk never stops the container. Such lines are lost and counted.
 */
import { writeSync } from 'node:fs';

export type LogFields = Readonly<Record<string, string | number | bigint | boolean | undefined>>;

export interface ShimLog {
  debug(text: string, fields?: LogFields): void;
  info(text: string, fields?: LogFields): void;
  warn(text: string, fields?: LogFields): void;
  error(text: string, fields?: LogFields): void;
}

/** Writes to `fd` (2 in the daemon); `debug` lines only when asked. Never throws. */
export function lineLog(options: { readonly debug: boolean; readonly fd?: number }): ShimLog {
  const fd = options.fd ?? 2;
  let lost = 0;
  const write = (level: string, text: string, fields: LogFields = {}): void => {
    const line = formatLine(new Date(), level, text, lost === 0 ? fields : { ...fields, lost_lines: lost });
    try {
      writeSync(fd, line);
      lost = 0;
    } catch {
      lost++;
    }
  };
  return {
    debug: (text, fields) => {
      if (options.debug) write('debug', text, fields);
    },
    info: (text, fields) => write('info', text, fields),
    warn: (text, fields) => write('warning', text, fields),
    error: (text, fields) => write('error', text, fields),
  };
}

/** One line: `time="…" level=info msg="…" key=value`. */
export function formatLine(at: Date, level: string, text: string, fields: LogFields): string {
  let line = `time="${at.toISOString()}" level=${level} msg=${JSON.stringify(text)}`;
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    line += ` ${key}=${typeof value === 'string' ? JSON.stringify(value) : String(value)}`;
  }
  return `${line}\n`;
}
