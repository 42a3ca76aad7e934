/** The supervisor's log: JSON lines on standard error, with the field names every room uses. */
import { pino } from 'pino';
import type { Logger } from 'pino';
import type { LogLevel } from './config/config.ts';

export type Log = Logger;

/** Fields: `ns container exec image digest snapshot shim_pid pid rpc dur_ms err`. Never environment values or credentials. */
export function openLog(level: LogLevel): Log {
  return pino({ level, base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination(2));
}
