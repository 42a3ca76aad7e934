import t from 'tap';
import { content, grpcServiceDefinition, loadDescriptors, tasks, typeRegistry, version } from './index.ts';
import { loadOracle } from './testing/proto-oracle.ts';

t.test('a service definition has what grpc-js needs', (t) => {
  const definition = grpcServiceDefinition(content.ContentService);
  t.equal(definition.write.path, '/containerd.services.content.v1.Content/Write');
  t.equal(definition.write.requestStream, true);
  t.equal(definition.write.responseStream, true);
  t.equal(definition.read.requestStream, false);
  t.equal(definition.read.responseStream, true);
  const bytes = definition.info.requestSerialize({ digest: 'sha256:00' });
  t.ok(Buffer.isBuffer(bytes), 'grpc-js wants Buffers');
  t.equal(definition.info.requestDeserialize(bytes).digest, 'sha256:00');
  t.throws(() => definition.info.requestDeserialize(Buffer.from('0a05', 'hex')), { code: 'invalid argument' });
  t.end();
});

t.test('methods keep their wire name under a lower-case key', (t) => {
  t.equal(tasks.TasksService.methods.closeIO.name, 'CloseIO');
  t.equal(tasks.TasksService.typeName, 'containerd.services.tasks.v1.Tasks');
  t.equal(version.VersionService.methods.version.responseType, version.VersionResponse);
  t.end();
});

t.test('the descriptors hold every message, files after the ones they import', async (t) => {
  const { file } = await loadDescriptors();
  const seen = new Set<string>();
  const messages = new Set<string>();
  const collect = (scope: string, list: readonly DescribedMessage[]): void => {
    for (const message of list) {
      const name = `${scope}.${message.name}`;
      if (message.options?.mapEntry !== true) messages.add(name);
      collect(name, message.nestedType ?? []);
    }
  };
  for (const described of file as readonly DescribedFile[]) {
    for (const name of described.dependency ?? []) t.ok(seen.has(name), `${described.name} comes after ${name}`);
    seen.add(described.name);
    collect(described.package, described.messageType ?? []);
  }
  t.strictSame([...messages].toSorted(), [...typeRegistry.keys()].toSorted());
});

interface DescribedMessage {
  readonly name: string;
  readonly nestedType?: readonly DescribedMessage[];
  readonly options?: { readonly mapEntry?: boolean };
}

interface DescribedFile {
  readonly name: string;
  readonly package: string;
  readonly dependency?: readonly string[];
  readonly messageType?: readonly DescribedMessage[];
}

t.test('every service has the methods of its .proto file', async (t) => {
  const api: Readonly<Record<string, unknown>> = await import('./index.ts');
  const oracle = loadOracle();
  let count = 0;
  for (const exported of Object.values(api)) {
    if (typeof exported !== 'object' || exported === null) continue;
    for (const [name, service] of Object.entries(exported)) {
      if (!name.endsWith('Service') || typeof service !== 'object' || service === null) continue;
      const { typeName, methods } = service as typeof tasks.TasksService;
      t.strictSame(
        Object.values(methods).map((method) => [
          method.name,
          `.${method.requestType.typeName}`,
          `.${method.responseType.typeName}`,
          method.requestStream,
          method.responseStream,
        ]),
        oracle
          .lookupService(typeName)
          .methodsArray.map((method) => [
            method.name,
            method.resolvedRequestType?.fullName,
            method.resolvedResponseType?.fullName,
            method.requestStream === true,
            method.responseStream === true,
          ]),
        typeName,
      );
      count += 1;
    }
  }
  t.ok(count >= 20, `${count} services`);
});
