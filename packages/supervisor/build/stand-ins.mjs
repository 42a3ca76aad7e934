// Modules of the bundle that stand in for others: what gantryd uses of those, and all of them when it is asked for.
// `__external` is a `require` that esbuild does not follow.

/**
 * `requireOf(…packages)` is the `require` of the last package as the first one's dependency finds it: npm may put a package
 * of a package where gantryd's own are, and need not.
 */
const requireOf = `
    const { createRequire } = require('node:module');
    const requireOf = (...packages) => packages.reduce((find, name) => createRequire(find.resolve(name)), __external);`;

const standIns = {
  // lmdb's search for its binary reads packages and begins by finding out which C library there is. The one for glibc is
  // nearly always right; where it is not, the search is made after all.
  'node-gyp-build-optional-packages': `${requireOf}
    export default function load() {
      const { platform, arch, versions } = process;
      const ofLmdb = requireOf('@gantry/store', 'lmdb');
      for (const kind of ['abi' + versions.modules, 'napi']) {
        try {
          return ofLmdb('@lmdb/lmdb-' + platform + '-' + arch + '/node.' + kind + '.glibc.node');
        } catch {}
      }
      const lmdb = requireOf('@gantry/store').resolve('lmdb');
      return ofLmdb('node-gyp-build-optional-packages')(require('node:path').resolve(lmdb, '../..'));
    }`,

  // lmdb encodes values that are no bytes with it; ours are.
  msgpackr: `${requireOf}
    export class Encoder {
      constructor(...args) {
        return new (requireOf('@gantry/store', 'lmdb')('msgpackr').Encoder)(...args);
      }
    }`,

  // pino runs transports in it; our log is a descriptor.
  'thread-stream': `${requireOf}
    module.exports = class {
      constructor(...args) {
        return new (requireOf('pino')('thread-stream'))(...args);
      }
    };`,

  // channelz and ORCA, which gantryd does not offer, would describe themselves with it.
  '@grpc/proto-loader': `${requireOf}
    module.exports = new Proxy({}, { get: (_, name) => requireOf('@grpc/grpc-js')('@grpc/proto-loader')[name] });`,

  // HTTP for registries, read when the first pull or push asks for it.
  undici: `${requireOf}
    module.exports = requireOf('@gantry/images')('undici');`,

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
