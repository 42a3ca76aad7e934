/** A token server as registries expect it: `GET` with Basic authorization, `POST` by form, tokens signed for the registry. */
import { createPrivateKey, sign, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { Certificate } from './registry-server.ts';

export interface TokenServerOptions {
  readonly signing: Certificate;
  readonly issuer: string;
  /** Whom it knows. */
  readonly users: Readonly<Record<string, string>>;
  /** What nobody may have. */
  readonly refuses?: (scope: string) => boolean;
  readonly lifetimeS?: number;
}

export interface TokenRequestSeen {
  readonly method: string;
  readonly scopes: readonly string[];
  readonly user: string | undefined;
}

export interface TokenServer {
  readonly realm: string;
  readonly seen: readonly TokenRequestSeen[];
  forget(): void;
  /** While false it answers POST with 404, as servers without the form do. */
  knowsForm: boolean;
  stop(): Promise<void>;
}

export async function startTokenServer(options: TokenServerOptions): Promise<TokenServer> {
  let seen: TokenRequestSeen[] = [];
  const state = { knowsForm: true };
  const server = createServer((request, response) => {
    void (async () => {
      const url = new URL(request.url ?? '/', 'http://localhost');
      const parameters = request.method === 'POST' ? new URLSearchParams(await bodyOf(request)) : url.searchParams;
      const scopes = parameters
        .getAll('scope')
        .flatMap((text) => text.split(' '))
        .filter((text) => text !== '');
      const [user, password] =
        request.method === 'POST'
          ? [parameters.get('username') ?? undefined, parameters.get('password') ?? '']
          : basicOf(request);
      seen.push({ method: request.method ?? '', scopes, user });
      if (request.method === 'POST' && !state.knowsForm) return void response.writeHead(404).end();
      if (user !== undefined && options.users[user] !== password) {
        const body = JSON.stringify({ errors: [{ code: 'UNAUTHORIZED', message: 'incorrect username or password' }] });
        return void response.writeHead(401).end(body);
      }
      const granted = scopes.filter((scope) => user !== undefined && options.refuses?.(scope) !== true);
      const token = signedToken(options, parameters.get('service') ?? '', user ?? '', granted);
      const answer = { token, access_token: token, expires_in: options.lifetimeS ?? 300 };
      return void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    })();
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    realm: `http://127.0.0.1:${address.port}/token`,
    get seen() {
      return seen;
    },
    forget: () => {
      seen = [];
    },
    get knowsForm() {
      return state.knowsForm;
    },
    set knowsForm(value) {
      state.knowsForm = value;
    },
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}

function basicOf(request: IncomingMessage): [string | undefined, string] {
  const packed = /^Basic (.*)$/.exec(request.headers.authorization ?? '')?.[1];
  if (packed === undefined) return [undefined, ''];
  const [user = '', ...rest] = Buffer.from(packed, 'base64').toString().split(':');
  return [user, rest.join(':')];
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces).toString();
}

/** A JSON Web Token with the certificate in its header, which the registry checks against its bundle. */
function signedToken(
  { signing, issuer, lifetimeS = 300 }: TokenServerOptions,
  service: string,
  subject: string,
  scopes: readonly string[],
): string {
  const now = Math.floor(Date.now() / 1000);
  const certificate = new X509Certificate(readFileSync(signing.certificate));
  const access = scopes.map((scope) => {
    const [type = '', ...rest] = scope.split(':');
    return { type, name: rest.slice(0, -1).join(':'), actions: (rest.at(-1) ?? '').split(',') };
  });
  const header = { typ: 'JWT', alg: 'ES256', x5c: [certificate.raw.toString('base64')] };
  const claims = {
    iss: issuer,
    sub: subject,
    aud: service,
    exp: now + lifetimeS,
    nbf: now - 10,
    iat: now,
    jti: String(process.hrtime.bigint()),
    access,
  };
  const text = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
  const key = createPrivateKey(readFileSync(signing.key));
  const signature = sign('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' });
  return `${text}.${signature.toString('base64url')}`;
}
