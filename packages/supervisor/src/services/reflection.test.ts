import t from 'tap';
import { reflection } from '@gantry/api';
import type { PartialMessage } from '@gantry/api';
import { reflectionServices } from './reflection.ts';

type Answer = reflection.ServerReflectionResponse;

/** The answers of a conversation with either version. */
async function ask(
  version: 0 | 1,
  ...questions: PartialMessage<reflection.ServerReflectionRequest>[]
): Promise<Answer[]> {
  const binding = reflectionServices({ services: ['containerd.services.tasks.v1.Tasks'] })[version];
  const requests = questions.map((question) => reflection.ServerReflectionRequest.create(question));
  const answers = binding?.handlers['serverReflectionInfo']?.(toStream(requests), {} as never) as AsyncIterable<Answer>;
  const all: Answer[] = [];
  for await (const answer of answers) all.push(reflection.ServerReflectionResponse.create(answer));
  return all;
}

async function* toStream<T>(items: readonly T[]): AsyncGenerator<T> {
  for (const item of items) yield await Promise.resolve(item);
}

/** Field 1 of each FileDescriptorProto, which comes first and is short: its name. */
function namesIn(answer: Answer | undefined): string[] {
  const files = answer?.fileDescriptorResponse?.fileDescriptorProto ?? [];
  return files.map((bytes) => Buffer.from(bytes.subarray(2, 2 + (bytes[1] ?? 0))).toString());
}

t.test('a client learns the services, and of one all the files it takes to call it', async (t) => {
  for (const version of [0, 1] as const) {
    const [listed, tasks, again, method] = await ask(
      version,
      { listServices: '' },
      { fileContainingSymbol: 'containerd.services.tasks.v1.Tasks' },
      { fileByFilename: 'containerd/types/mount.proto' },
      { fileContainingSymbol: 'containerd.services.tasks.v1.Tasks.Create' },
    );
    t.same(
      listed?.listServicesResponse?.service.map(({ name }) => name),
      [
        'containerd.services.tasks.v1.Tasks',
        'grpc.reflection.v1.ServerReflection',
        'grpc.reflection.v1alpha.ServerReflection',
      ],
    );
    const names = namesIn(tasks);
    t.equal(names[0], 'containerd/services/tasks/v1/tasks.proto', 'the one that was asked for comes first');
    t.ok(names.includes('google/protobuf/any.proto') && names.includes('containerd/types/mount.proto'), 'its imports');
    t.equal(new Set(names).size, names.length, 'none twice');
    t.same(namesIn(again), ['containerd/types/mount.proto'], 'one is sent again when it is asked for');
    t.same(namesIn(method), ['containerd/services/tasks/v1/tasks.proto'], 'its imports are there already');
    t.same(tasks?.originalRequest?.fileContainingSymbol, 'containerd.services.tasks.v1.Tasks');
  }
});

t.test('what there is not is an answer, not the end of the conversation', async (t) => {
  const answers = await ask(
    0,
    { fileByFilename: 'nobody.proto' },
    { fileContainingSymbol: 'no.body' },
    { allExtensionNumbersOfType: 'no.body' },
    { allExtensionNumbersOfType: 'containerd.types.Mount' },
    { fileContainingExtension: { containingType: 'containerd.types.Mount', extensionNumber: 100 } },
    {},
  );
  t.same(
    answers.map(({ errorResponse }) => errorResponse?.errorCode),
    [5, 5, 5, undefined, 5, 3],
  );
  t.same(answers[3]?.allExtensionNumbersResponse?.baseTypeName, 'containerd.types.Mount');
});
