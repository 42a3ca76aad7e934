/** Who we are to a registry. Values of these types are secrets: they are never part of a message or a log line. */

/** A name and a password, a token to be exchanged for others, one to be shown as it is, or a whole Authorization header. */
export type Credentials =
  | { readonly kind: 'password'; readonly username: string; readonly password: string }
  | { readonly kind: 'identity token'; readonly token: string }
  | { readonly kind: 'registry token'; readonly token: string }
  | { readonly kind: 'header'; readonly value: string };

/** Credentials, and where they came from, for messages: `/root/.docker/config.json`. */
export interface FoundCredentials {
  readonly credentials: Credentials;
  readonly source: string;
}

/** Looks up the credentials for a host (`registry-1.docker.io`, `localhost:5000`). Undefined: go without. */
export interface CredentialSource {
  /** `challenges` are the host's WWW-Authenticate headers, for sources that pass the question on. */
  lookup(host: string, signal?: AbortSignal, challenges?: readonly string[]): Promise<FoundCredentials | undefined>;
}

/** Nobody in particular. */
export const anonymous: CredentialSource = { lookup: async () => undefined };

/** The same credentials for one host, whatever the client's configuration says. */
export function fixedCredentials(host: string, credentials: Credentials): CredentialSource {
  return {
    lookup: async (asked) => (asked === host ? { credentials, source: 'the request' } : undefined),
  };
}

/** The first source that knows the host. */
export function firstOf(...sources: readonly CredentialSource[]): CredentialSource {
  return {
    async lookup(host, signal, challenges) {
      for (const source of sources) {
        const found = await source.lookup(host, signal, challenges);
        if (found !== undefined) return found;
      }
      return undefined;
    },
  };
}

/** The value of an Authorization header of scheme Basic (RFC 7617). */
export function basicAuthorization(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`;
}
