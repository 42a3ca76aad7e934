/** Credentials asked of the client, on the stream it named for that: it has the user's configuration, we have not. */
import { packAny, transferTypes, unpackAny } from '@gantry/api';
import type { Credentials, CredentialSource } from '@gantry/credentials';
import { invalidArgument } from '@gantry/errors';
import { Limiter } from '@gantry/images';
import type { MessageStream } from '../streams/streams.ts';

/** Names the source in errors. */
const source = 'the client';

/** One question at a time. A client that has gone, or has nothing, means going without. */
export function authStream(stream: MessageStream, reference: string): CredentialSource {
  const turn = new Limiter(1);
  return {
    lookup: (host, signal, challenges = []) =>
      turn.run(async () => {
        const question = { host, reference, wwwauthenticate: [...challenges] };
        await stream.send(packAny(transferTypes.AuthRequest, question));
        const answer = await stream.receive();
        if (answer === undefined) return undefined;
        const credentials = credentialsOf(unpackAny(transferTypes.AuthResponse, answer));
        return credentials && { credentials, source };
      }, signal),
  };
}

/** Throws invalid argument for an answer of a kind that nobody knows. */
function credentialsOf({ authType, username, secret }: transferTypes.AuthResponse): Credentials | undefined {
  // Clients without credentials also say so by empty ones.
  if (secret === '') return undefined;
  switch (authType) {
    case transferTypes.AuthType.NONE:
      return undefined;
    case transferTypes.AuthType.CREDENTIALS:
      return { kind: 'password', username, password: secret };
    case transferTypes.AuthType.REFRESH:
      return { kind: 'identity token', token: secret };
    case transferTypes.AuthType.HEADER:
      return { kind: 'header', value: secret };
    default:
      throw invalidArgument(`credentials of type ${authType}`);
  }
}
