// Modules of the bundle that stand in for others: what gantryd uses of those, and all of them when it is asked for.
// `__external` is a `require` that esbuild does not follow.

const standIns = {
  // lmdb's search for its binary reads packages and begins by finding out which C library there is. The one for glibc is
  // nearly always right; where it is not, the search is made after all.
  'node-gyp-build-optional-packages': `
    export default function load() {
      const { platform, arch, versions } = process;
      for (const kind of ['abi' + versions.modules, 'napi']) {
        try {
          return __external('@lmdb/lmdb-' + platform + '-' + arch + '/node.' + kind + '.glibc.node');
        } catch {}
      }
      return __external('node-gyp-build-optional-packages')(require('node:path').resolve(__external.resolve('lmdb'), '../..'));
    }`,

  // lmdb encodes values that are no bytes with it; ours are.
  msgpackr: `
    export class Encoder {
      constructor(...args) {
        return new (__external('msgpackr').Encoder)(...args);
      }
    }`,

  // pino runs transports in it; our log is a descriptor.
  'thread-stream': `
    module.exports = class {
      constructor(...args) {
        return new (__external('thread-stream'))(...args);
      }
    };`,

  // channelz and ORCA, which gantryd does not offer, would describe themselves with it.
  '@grpc/proto-loader': `
    module.exports = new Proxy({}, { get: (_, name) => __external('@grpc/proto-loader')[name] });`,

  // HTTP for registries, read when the first pull or push asks for it.
  undici: `
    const { createRequire } = require('node:module');
    module.exports = createRequire(__external.resolve('@gantry/images'))('undici');`,

  // The server alone, with the one kind of address it listens on.
  '@grpc/grpc-js': `
    export { Server } from '@grpc/grpc-js/build/src/server.js';
    export { ServerCredentials } from '@grpc/grpc-js/build/src/server-credentials.js';
    import { setup } from '@grpc/grpc-js/build/src/resolver-uds.js';
    setup();`,
};

/** The esbuild plugin that puts them in place. `dir` is where imports of the stand-ins are looked for. */
export const standingIn = (dir) => ({
  name: 'stand-ins',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^[@a-z]/ }, ({ path }) =>
      Object.hasOwn(standIns, path) ? { path, namespace: 'stand-in' } : undefined,
    );
    onLoad({ filter: /.*/, namespace: 'stand-in' }, ({ path }) => ({ contents: standIns[path], resolveDir: dir }));
  },
});
