/**
 * grpc.reflection.v1 and v1alpha: clients without our protos (grpcurl, consoles, generic gateways) ask what services there
 * are and how their messages look.
 */
import { loadReflection, reflection, reflectionAlpha } from '@gantry/api';
import type { PartialMessage, ReflectionFile } from '@gantry/api';
import { statusNumbers } from '@gantry/errors';
import { bind } from '../rpc/handlers.ts';
import type { Binding } from '../rpc/handlers.ts';

type Request = reflection.ServerReflectionRequest;
type Response = PartialMessage<reflection.ServerReflectionResponse>;

export interface ReflectionServiceComponents {
  /** Full names of the services that are served. */
  readonly services: readonly string[];
  /** Read for each conversation: they are few, and the files large. */
  readonly load?: () => Promise<readonly ReflectionFile[]>;
}

/** Both versions, which have the same messages under other names. */
export function reflectionServices({ services, load = loadReflection }: ReflectionServiceComponents): Binding[] {
  const own = [reflection.ServerReflectionService, reflectionAlpha.ServerReflectionService];
  const names = [...services, ...own.map(({ typeName }) => typeName)].toSorted();
  const serverReflectionInfo = async function* (requests: AsyncIterable<Request>): AsyncGenerator<Response> {
    const conversation = new Conversation(names, await load());
    for await (const request of requests) yield { ...conversation.answer(request), originalRequest: request };
  };
  return own.map((service) => bind(service, { serverReflectionInfo }));
}

class Conversation {
  readonly #services: readonly string[];
  readonly #files: ReadonlyMap<string, ReflectionFile>;
  /** Files that the client has; they are not sent again behind others. */
  readonly #sent = new Set<string>();

  constructor(services: readonly string[], files: readonly ReflectionFile[]) {
    this.#services = services;
    this.#files = new Map(files.map((file) => [file.name, file]));
  }

  answer(request: Request): Response {
    if (request.listServices !== undefined)
      return { listServicesResponse: { service: this.#services.map((name) => ({ name })) } };
    if (request.fileByFilename !== undefined) {
      const file = this.#files.get(request.fileByFilename);
      return file === undefined ? notFound(`file ${request.fileByFilename}`) : this.#send(file);
    }
    if (request.fileContainingSymbol !== undefined) {
      const file = this.#declaring(request.fileContainingSymbol);
      return file === undefined ? notFound(`symbol ${request.fileContainingSymbol}`) : this.#send(file);
    }
    if (request.allExtensionNumbersOfType !== undefined) {
      const baseTypeName = request.allExtensionNumbersOfType;
      if (this.#declaring(baseTypeName) === undefined) return notFound(`type ${baseTypeName}`);
      return { allExtensionNumbersResponse: { baseTypeName, extensionNumber: [] } }; // proto3 has none
    }
    if (request.fileContainingExtension !== undefined) return notFound('extension');
    return { errorResponse: { errorCode: statusNumbers['invalid argument'], errorMessage: 'no question' } };
  }

  #declaring(symbol: string): ReflectionFile | undefined {
    return [...this.#files.values()].find(({ symbols }) => symbols.includes(symbol));
  }

  /** The file, and what it needs that the client does not have. */
  #send(file: ReflectionFile): Response {
    const needed = [file, ...this.#imports(file)];
    return { fileDescriptorResponse: { fileDescriptorProto: needed.map(({ bytes }) => Buffer.from(bytes, 'base64')) } };
  }

  #imports(file: ReflectionFile): ReflectionFile[] {
    this.#sent.add(file.name);
    return file.dependency.flatMap((name) => {
      const needed = this.#files.get(name);
      return needed === undefined || this.#sent.has(name) ? [] : [needed, ...this.#imports(needed)];
    });
  }
}

function notFound(what: string): Response {
  return { errorResponse: { errorCode: statusNumbers['not found'], errorMessage: `${what} not found` } };
}
