/** The parser of the `linux` section. */
import {
  absolutePath,
  bool,
  distinct,
  int64,
  integer,
  list,
  members,
  memberPath,
  object,
  oneOf,
  optional,
  record,
  refuse,
  text,
  textList,
  textRecord,
  uint32,
  where,
  withDefault,
} from '../parse/parser.ts';
import type { Parser } from '../parse/parser.ts';
import {
  deviceTypes,
  memoryPolicyFlags,
  memoryPolicyModes,
  namespaceTypes,
  personalityDomains,
  rootfsPropagations,
} from './linux.ts';
import type {
  IdMapping,
  Linux,
  LinuxDevice,
  LinuxIntelRdt,
  LinuxMemoryPolicy,
  LinuxNamespace,
  LinuxNetDevice,
  LinuxPersonality,
  LinuxTimeOffset,
  LinuxTimeOffsets,
  RootfsPropagation,
} from './linux.ts';
import { linuxResources, numberList } from './parse-resources.ts';
import { linuxSeccomp } from './parse-seccomp.ts';

const idMapping = object<IdMapping>({
  containerID: withDefault(uint32, 0),
  hostID: withDefault(uint32, 0),
  size: integer(1, 2 ** 32 - 1),
});

/** A list of id ranges. */
export const idMappings = list(idMapping);

/** An empty path is how producers write "new". */
const namespacePath: Parser<string | undefined> = (value, path) =>
  value === '' ? undefined : optional(absolutePath)(value, path);

const namespace = object<LinuxNamespace>({ type: oneOf(namespaceTypes), path: namespacePath });

const deviceNumber = integer(0, 2 ** 32 - 1);

const device = object<LinuxDevice>({
  path: absolutePath,
  type: oneOf(deviceTypes),
  major: withDefault(deviceNumber, 0),
  minor: withDefault(deviceNumber, 0),
  fileMode: optional(uint32),
  uid: optional(uint32),
  gid: optional(uint32),
});

const netDeviceName = where(text, (name) =>
  name.length > 15 || name === '.' || name === '..' || /[/:\s]/.test(name) ? 'must be an interface name' : undefined,
);

const netDevices = record(object<LinuxNetDevice>({ name: optional(netDeviceName) }));

/** An empty text means the default. */
const rootfsPropagation: Parser<RootfsPropagation | undefined> = (value, path) =>
  value === '' ? undefined : optional(oneOf(rootfsPropagations))(value, path);

/** A lone `/` is the root group; anything else is one directory name. */
const closId = where(text, (id) =>
  id !== '/' && (id === '.' || id === '..' || id.includes('/'))
    ? `invalid intelRdt.ClosID ${JSON.stringify(id)}`
    : undefined,
);

const intelRdt = object<LinuxIntelRdt>({
  closID: optional(closId),
  schemata: optional(textList),
  l3CacheSchema: optional(text),
  memBwSchema: optional(text),
  enableMonitoring: optional(bool),
});

const memoryPolicy = where(
  object<LinuxMemoryPolicy>({
    mode: oneOf(memoryPolicyModes),
    nodes: optional(numberList),
    flags: optional(list(oneOf(memoryPolicyFlags))),
  }),
  ({ mode, nodes = '' }) => {
    const takesNone = mode === 'MPOL_DEFAULT' || mode === 'MPOL_LOCAL';
    if (takesNone && nodes !== '') return `nodes must be empty with ${mode}`;
    if (!takesNone && mode !== 'MPOL_PREFERRED' && nodes === '') return `nodes must not be empty with ${mode}`;
    return undefined;
  },
);

const timeOffset = object<LinuxTimeOffset>({
  secs: optional(int64),
  nanosecs: optional(integer(0, 999_999_999)),
});

const timeOffsetShape = object<LinuxTimeOffsets>({
  monotonic: optional(timeOffset),
  boottime: optional(timeOffset),
});

/** The clock is an enumerated value although it is written as a key. */
const timeOffsets: Parser<LinuxTimeOffsets> = (value, path) => {
  for (const clock of Object.keys(members(value, path))) {
    if (clock !== 'monotonic' && clock !== 'boottime') throw refuse(memberPath(path, clock), 'unknown clock');
  }
  return timeOffsetShape(value, path);
};

/** The `linux` section inside the configuration. */
export const linuxSection = object<Linux>({
  uidMappings: optional(idMappings),
  gidMappings: optional(idMappings),
  sysctl: optional(textRecord),
  resources: optional(linuxResources),
  cgroupsPath: optional(text),
  namespaces: optional(distinct(namespace, ({ type }) => type, 'type')),
  devices: optional(list(device)),
  netDevices: optional(netDevices),
  seccomp: optional(linuxSeccomp),
  rootfsPropagation,
  maskedPaths: optional(textList),
  readonlyPaths: optional(textList),
  mountLabel: optional(text),
  intelRdt: optional(intelRdt),
  memoryPolicy: optional(memoryPolicy),
  personality: optional(object<LinuxPersonality>({ domain: oneOf(personalityDomains), flags: optional(textList) })),
  timeOffsets: optional(timeOffsets),
});
