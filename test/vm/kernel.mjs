// The guest's kernel: Debian's cloud kernel, fetched once as a package and kept outside the checkout.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

const metaPackage = 'linux-image-cloud-amd64';

/** Where it is kept; GANTRY_VM_CACHE names another place. */
function cacheDirectory() {
  const base = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  return process.env['GANTRY_VM_CACHE'] ?? join(base, 'gantry', 'vm');
}

/** The unpacked kernel of the cache, fetched when it is not there; undefined (and a word why) when that is impossible. */
export function findKernel() {
  const cache = cacheDirectory();
  const unpacked = join(cache, 'kernel');
  if (!existsSync(join(unpacked, 'boot')) && !fetchKernel(cache, unpacked)) return undefined;
  const file = readdirSync(join(unpacked, 'boot')).find((name) => name.startsWith('vmlinuz-'));
  if (file === undefined) throw new Error(`no kernel in ${unpacked}; remove it to fetch it again`);
  const version = file.slice('vmlinuz-'.length);
  return { image: join(unpacked, 'boot', file), modules: join(unpacked, 'lib/modules', version), version };
}

function fetchKernel(cache, unpacked) {
  const name = dependency();
  if (name === undefined) {
    console.error(`vm: no package ${metaPackage} known to apt (not Debian, or apt-get update is needed)`);
    return false;
  }
  mkdirSync(cache, { recursive: true });
  // The cache is the caller's; apt's own user may not be able to write there.
  const fetched = spawnSync(
    'apt-get',
    ['-o', `APT::Sandbox::User=${process.env['USER'] ?? 'root'}`, 'download', name],
    {
      cwd: cache,
      timeout: 180_000,
      encoding: 'utf8',
    },
  );
  const archive = readdirSync(cache).find((file) => file.startsWith(`${name}_`) && file.endsWith('.deb'));
  if (fetched.status !== 0 || archive === undefined) {
    console.error(`vm: could not download ${name}: ${fetched.stderr}`);
    return false;
  }
  // Complete under its name or not at all.
  const partial = `${unpacked}.partial`;
  rmSync(partial, { recursive: true, force: true });
  const unpack = spawnSync('dpkg', ['-x', join(cache, archive), partial], { encoding: 'utf8' });
  if (unpack.status !== 0) throw new Error(`unpacking ${archive}: ${unpack.stderr}`);
  renameSync(partial, unpacked);
  rmSync(join(cache, archive));
  return true;
}

/** The meta package depends on the package of the current version. */
function dependency() {
  const { stdout } = spawnSync('apt-cache', ['depends', metaPackage], { encoding: 'utf8' });
  return /Depends: (linux-image-\S+)/.exec(stdout ?? '')?.[1];
}
