/**
 * Docker's credential helpers: programs `docker-credential-<name>` that are given a server's address on standard input
 * and print `{"ServerURL", "Username", "Secret"}`.
 */
import { spawn } from 'node:child_process';
import { cancelled, failedPrecondition, invalidArgument, messageOf } from '@gantry/errors';
import { parseJsonObject, textOf } from './json.ts';
import type { Credentials } from './credentials.ts';

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
const deadlineMs = 30_000;
const maximumOutputBytes = 64 * 1024;

/** The user name that says that the secret is an identity token. */
const tokenUser = '<token>';

/** What helpers print, with a failing exit status, when they have nothing. */
const nothingFound = /credentials not found/i;

export interface HelperOptions {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Asks the helper. Undefined when it has nothing for the server. Throws failed precondition when it cannot be run, fails
 * or hangs, invalid argument for a name that would be a path.
 */
export async function askHelper(
  name: string,
  server: string,
  options: HelperOptions,
): Promise<Credentials | undefined> {
  if (!namePattern.test(name))
    throw invalidArgument(`credential helper ${JSON.stringify(name.slice(0, 100))}: not a name`);
  const program = `docker-credential-${name}`;
  const { code, output } = await runHelper(program, server, options);
  if (code !== 0) {
    if (nothingFound.test(output)) return undefined;
    throw failedPrecondition(`${program} get: exit status ${code} for ${server}`);
  }
  const answer = parseJsonObject(output, `the answer of ${program}`);
  const secret = textOf(answer, 'Secret');
  const username = textOf(answer, 'Username');
  if (secret === undefined) return undefined;
  if (username === undefined || username === tokenUser) return { kind: 'identity token', token: secret };
  return { kind: 'password', username, password: secret };
}

function runHelper(
  program: string,
  server: string,
  { environment, signal }: HelperOptions,
): Promise<{ readonly code: number; readonly output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, ['get'], { env: { ...environment }, stdio: ['pipe', 'pipe', 'ignore'] });
    let output = '';
    const end = (err: Error): void => {
      child.kill('SIGKILL');
      child.stdout.destroy();
      reject(err);
    };
    const timer = setTimeout(
      () => end(failedPrecondition(`${program} get: no answer within ${deadlineMs / 1000} s`)),
      deadlineMs,
    );
    const stop = (): void => end(cancelled(`${program} get`));
    signal?.addEventListener('abort', stop, { once: true });
    child.stdin.on('error', () => undefined);
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (output.length > maximumOutputBytes) end(failedPrecondition(`${program} get: it does not stop printing`));
    });
    child.on('error', (err) => {
      clearTimeout(timer);
      reject(
        failedPrecondition(
          `credential helper ${program} cannot be run (${messageOf(err)}): install it or remove it from the client configuration`,
          {},
          err,
        ),
      );
    });
    child.on('close', (code, killed) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
      resolve({ code: code ?? (killed === null ? 1 : 128), output });
    });
    child.stdin.end(server);
  });
}
