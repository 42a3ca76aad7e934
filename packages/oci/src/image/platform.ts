/** Platforms: their normal form, their text form, and which images a host can run, best first. */
import { arch, endianness, platform } from 'node:os';
import { invalidArgument } from '@gantry/errors';
import type { Platform } from './documents.ts';

const architectureAliases: ReadonlyMap<string, readonly [architecture: string, variant?: string]> = new Map([
  ['x86_64', ['amd64']],
  ['x86-64', ['amd64']],
  ['i386', ['386']],
  ['aarch64', ['arm64']],
  ['armhf', ['arm', 'v7']],
  ['armel', ['arm', 'v6']],
] as const);

const variantAliases: ReadonlyMap<string, string> = new Map([
  ['amd64/v1', ''],
  ['arm64/8', ''],
  ['arm64/v8', ''],
  ['arm64/v8.0', ''],
  ['arm64/9', 'v9'],
  ['arm64/9.0', 'v9'],
  ['arm64/v9.0', 'v9'],
  ['arm/', 'v7'],
  ['arm/7', 'v7'],
  ['arm/5', 'v5'],
  ['arm/6', 'v6'],
  ['arm/8', 'v8'],
]);

const knownSystems: ReadonlySet<string> = new Set(
  'aix android darwin dragonfly freebsd illumos ios js linux macos netbsd openbsd plan9 solaris wasip1 windows zos'.split(
    ' ',
  ),
);

const nodeArchitectures: ReadonlyMap<string, string> = new Map([
  ['x64', 'amd64'],
  ['ia32', '386'],
  ['mipsel', 'mipsle'],
]);

/** The normal form: lower case, aliases resolved, the default variant of amd64 and arm64 left out, arm's written. */
export function normalizePlatform(unsafePlatform: Platform): Platform {
  const os = unsafePlatform.os.toLowerCase();
  const given = unsafePlatform.architecture.toLowerCase();
  const [architecture, impliedVariant = unsafePlatform.variant?.toLowerCase() ?? ''] = architectureAliases.get(
    given,
  ) ?? [given];
  const variant = variantAliases.get(`${architecture}/${impliedVariant}`) ?? impliedVariant;
  const { variant: _, ...rest } = unsafePlatform;
  return { ...rest, architecture, os: os === 'macos' ? 'darwin' : os, ...(variant === '' ? {} : { variant }) };
}

/** The platform of this machine. */
export function hostPlatform(): Platform {
  const machine = arch();
  const little = machine === 'ppc64' && endianness() === 'LE';
  const architecture = little ? 'ppc64le' : (nodeArchitectures.get(machine) ?? machine);
  return normalizePlatform({ architecture, os: platform() === 'win32' ? 'windows' : platform() });
}

const componentGrammar = /^[A-Za-z0-9_.-]+$/;
const systemGrammar = /^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.-]*)((?:\+[A-Za-z0-9_.-]+)*)\))?$/;

/**
 * Parses `os[(version[+feature…])]/architecture[/variant]`. A single component is an operating system or an
 * architecture; what is missing is the host's. Throws invalid argument.
 */
export function parsePlatform(unsafeText: string): Platform {
  const parts = unsafeText.split('/');
  const [first = '', second, variant] = parts;
  const system = systemGrammar.exec(first);
  const wellFormed = system !== null && parts.slice(1).every((part) => componentGrammar.test(part));
  if (!wellFormed || parts.length > 3) {
    throw invalidArgument(`invalid platform ${JSON.stringify(unsafeText.slice(0, 255))}`);
  }
  const [, os = '', version = '', features = ''] = system;
  const host = hostPlatform();
  if (second === undefined && !knownSystems.has(os.toLowerCase())) {
    return normalizePlatform({ os: host.os, architecture: os });
  }
  return normalizePlatform({
    os,
    architecture: second ?? host.architecture,
    ...(version === '' ? {} : { 'os.version': version }),
    ...(features === '' ? {} : { 'os.features': features.slice(1).split('+') }),
    ...(variant === undefined ? (second === undefined ? variantOf(host) : {}) : { variant }),
  });
}

function variantOf({ variant }: Platform): { variant?: string } {
  return variant === undefined ? {} : { variant };
}

/** The text form of a platform, normalised; an empty variant is left out. */
export function formatPlatform(unsafePlatform: Platform): string {
  const {
    os,
    architecture,
    variant,
    'os.version': version = '',
    'os.features': features = [],
  } = normalizePlatform(unsafePlatform);
  const detail = [version, ...features].join('+');
  return [detail === '' ? os : `${os}(${detail})`, architecture, ...(variant === undefined ? [] : [variant])].join('/');
}

/** `v8.5` → [8, 5]; anything else is no number. */
function versionOf(variant: string): readonly [major: number, minor: number] | undefined {
  const match = /^v(\d{1,2})(?:\.(\d{1,2}))?$/.exec(variant);
  return match ? [Number(match[1]), Number(match[2] ?? 0)] : undefined;
}

function countDown(from: number, to: number, name: (n: number) => string): string[] {
  return Array.from({ length: Math.max(0, from - to + 1) }, (_, i) => name(from - i));
}

const dotted = (major: number) => (minor: number) => (minor === 0 ? `arm64/v${major}` : `arm64/v${major}.${minor}`);

/** What a host of this architecture runs, best first, as `architecture/variant` in normal form. */
function acceptable({ architecture, variant = '' }: Platform): string[] {
  const [major, minor] = versionOf(variant) ?? [undefined, 0];
  if (architecture === 'amd64') {
    return [...countDown(major ?? 1, 2, (n) => `amd64/v${n}`), 'amd64/', '386/'];
  }
  if (architecture === 'arm64') {
    const nine = major === 9 ? countDown(minor, 0, dotted(9)) : [];
    // Version 9.y of the architecture contains version 8.(y+5).
    const eight = countDown(major === 9 ? minor + 5 : minor, 1, dotted(8));
    return [...nine, ...eight, 'arm64/', 'arm/v8', 'arm/v7', 'arm/v6', 'arm/v5'];
  }
  if (architecture === 'arm') return countDown(major ?? 7, 5, (n) => `arm/v${n}`);
  return [`${architecture}/${variant}`];
}

/** Windows images run on hosts of the same build: the first three parts of the version. */
function sameBuild(host: string | undefined, image: string | undefined): boolean {
  if (host === undefined || image === undefined || image === '') return true;
  return host.split('.').slice(0, 3).join('.') === image.split('.').slice(0, 3).join('.');
}

/**
 * How well an image's platform fits a host: 0 is best, larger is worse, undefined is not at all.
 * Attestations (`unknown/unknown`) never fit.
 */
export function matchPlatform(host: Platform, unsafeImage: Platform): number | undefined {
  const own = normalizePlatform(host);
  const image = normalizePlatform(unsafeImage);
  if (own.os !== image.os) return undefined;
  if (own.os === 'windows' && !sameBuild(own['os.version'], image['os.version'])) return undefined;
  const features = new Set(own['os.features']);
  if (image['os.features']?.some((feature) => !features.has(feature))) return undefined;
  const rank = acceptable(own).indexOf(`${image.architecture}/${image.variant ?? ''}`);
  return rank < 0 ? undefined : rank;
}

/** Those entries that the host can run, best first, equally good ones in their order. Entries without a platform are left out. */
export function selectForPlatform<T extends { readonly platform?: Platform }>(
  host: Platform,
  entries: readonly T[],
): T[] {
  const ranked = entries.flatMap((entry) => {
    const rank = entry.platform === undefined ? undefined : matchPlatform(host, entry.platform);
    return rank === undefined ? [] : [{ entry, rank }];
  });
  return ranked.sort((a, b) => a.rank - b.rank).map(({ entry }) => entry);
}
