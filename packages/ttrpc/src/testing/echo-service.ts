/** A service of every shape for the tests of client and server. */
import { types, v1Types } from '@gantry/api/shim';
import type { MethodType, ServiceType } from '@gantry/api/shim';
import type { Handlers } from '../handlers.ts';

type Mount = types.Mount;
type ProcessInfo = v1Types.ProcessInfo;

export const EchoService: ServiceType<{
  readonly echo: MethodType<Mount, Mount, false, false>;
  readonly missing: MethodType<Mount, Mount, false, false>;
  readonly repeat: MethodType<ProcessInfo, Mount, false, true>;
  readonly count: MethodType<Mount, ProcessInfo, true, false>;
  readonly chat: MethodType<Mount, Mount, true, true>;
}> = {
  typeName: 'test.Echo',
  methods: {
    echo: {
      name: 'Echo',
      requestType: types.Mount,
      responseType: types.Mount,
      requestStream: false,
      responseStream: false,
    },
    missing: {
      name: 'Missing',
      requestType: types.Mount,
      responseType: types.Mount,
      requestStream: false,
      responseStream: false,
    },
    repeat: {
      name: 'Repeat',
      requestType: v1Types.ProcessInfo,
      responseType: types.Mount,
      requestStream: false,
      responseStream: true,
    },
    count: {
      name: 'Count',
      requestType: types.Mount,
      responseType: v1Types.ProcessInfo,
      requestStream: true,
      responseStream: false,
    },
    chat: {
      name: 'Chat',
      requestType: types.Mount,
      responseType: types.Mount,
      requestStream: true,
      responseStream: true,
    },
  },
};

/** Echoes; `repeat` answers `pid` messages; `count` counts in `pid`. */
export const echoHandlers: Handlers<typeof EchoService> = {
  echo: (request) => request,
  async *repeat({ pid }) {
    for (let at = 0; at < pid; at++) yield { type: String(at) };
  },
  async count(requests) {
    let pid = 0;
    for await (const _ of requests) pid += 1;
    return { pid };
  },
  async *chat(requests) {
    for await (const { source } of requests) yield { source: source.toUpperCase() };
  },
};
