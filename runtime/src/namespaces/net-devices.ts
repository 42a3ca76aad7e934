/**
 * Network devices of the host that become a container's (runtime specification 1.3, "linux.netDevices").
 *
 *   find it · remember its addresses · take it down · rename and move it in one step
 *   in the container's namespace: give it those addresses · take it up
 *
 * Routes are not kept, nor are addresses that somebody leases. When the namespace ends the kernel gives hardware back to
 * the host and destroys what is virtual.
 */
import { invalidArgument, notFound, wrap } from '@gantry/errors';
import { AT_FDCWD, CLONE_NEWNET, isErrno, O_RDONLY } from '@gantry/libc';
import type { FileCalls, MountCalls } from '@gantry/libc';
import type { LinuxNetDevice, Spec } from '@gantry/oci';
import { namespaceOf } from './plan.ts';
import type { NamespacePlan } from './plan.ts';
import {
  addressMessage,
  IFA_ADDRESS,
  IFA_BROADCAST,
  IFA_F_PERMANENT,
  IFA_FLAGS,
  IFA_LOCAL,
  IFF_UP,
  IFLA_IFNAME,
  IFLA_NET_NS_FD,
  linkMessage,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  numberAttribute,
  parseAddress,
  parseLink,
  RouteSocket,
  RTM_GETADDR,
  RTM_GETLINK,
  RTM_NEWADDR,
  RTM_NEWLINK,
  textAttribute,
} from './rtnetlink.ts';
import type { Address, RouteCalls } from './rtnetlink.ts';

type Calls = RouteCalls & Pick<FileCalls, 'openat' | 'close'> & Pick<MountCalls, 'setns'>;

const UNIVERSE = 0;
/** What makes an address; the rest is what the kernel tells about it. */
const kept: ReadonlySet<number> = new Set([IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST]);

/** Refuses devices for a container that would share the namespace they are in. */
export function checkNetDevices(spec: Spec): void {
  const names = Object.keys(spec.linux?.netDevices ?? {});
  if (names.length === 0) return;
  if (namespaceOf(spec, 'network') === undefined) {
    throw invalidArgument('unable to move network devices without a NET namespace');
  }
  if (process.geteuid?.() !== 0) throw invalidArgument('network devices are not supported for rootless containers');
}

/** Moves them into the namespace of the process `pid`, which is about to join it or was born in it. */
export function moveNetDevices(
  sys: Calls,
  devices: Readonly<Record<string, LinuxNetDevice>>,
  pid: number,
  { joins }: NamespacePlan,
): void {
  if (Object.keys(devices).length === 0) return;
  const joined = joins.find(({ type }) => type === 'network');
  if (joined !== undefined) {
    moveInto(sys, devices, joined.fd);
    return;
  }
  const namespace = sys.openat(AT_FDCWD, `/proc/${pid}/ns/net`, O_RDONLY);
  try {
    moveInto(sys, devices, namespace);
  } finally {
    sys.close(namespace);
  }
}

/** The caller comes back to its own namespace. */
function moveInto(sys: Calls, devices: Readonly<Record<string, LinuxNetDevice>>, namespace: number): void {
  const moved = new Map<string, Address[]>();
  withSocket(sys, (host) => {
    for (const [name, { name: newName = '' }] of Object.entries(devices)) {
      const becomes = newName === '' ? name : newName;
      moved.set(
        becomes,
        naming(name, () => moveOut(host, name, becomes, namespace)),
      );
    }
  });
  inNamespace(sys, namespace, () =>
    withSocket(sys, (inside) => {
      for (const [name, addresses] of moved) naming(name, () => settle(inside, name, addresses));
    }),
  );
}

function moveOut(host: RouteSocket, name: string, newName: string, namespace: number): Address[] {
  const index = indexOf(host, name);
  const link = { index, flags: 0 };
  // Those of IPv6 are gone when it is down.
  const addresses = host
    .request(RTM_GETADDR, NLM_F_DUMP, addressMessage({ ...anyAddress, index }), name)
    .map(parseAddress)
    .filter((one) => one.index === index && one.scope === UNIVERSE && (one.flags & IFA_F_PERMANENT) !== 0);
  host.request(RTM_NEWLINK, NLM_F_ACK, linkMessage({ ...link, change: IFF_UP }), name);
  const attributes = [textAttribute(IFLA_IFNAME, newName), numberAttribute(IFLA_NET_NS_FD, namespace)];
  host.request(RTM_NEWLINK, NLM_F_ACK, linkMessage(link, attributes), name);
  return addresses;
}

const anyAddress: Address = { family: 0, prefixLength: 0, flags: 0, scope: 0, index: 0, attributes: [] };

function settle(inside: RouteSocket, name: string, addresses: readonly Address[]): void {
  const index = indexOf(inside, name);
  for (const { attributes, flags, ...address } of addresses) {
    const message = addressMessage({
      ...address,
      index,
      flags,
      attributes: [...attributes.filter(({ type }) => kept.has(type)), numberAttribute(IFA_FLAGS, flags)],
    });
    inside.request(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE, message, name);
  }
  inside.request(RTM_NEWLINK, NLM_F_ACK, linkMessage({ index, flags: IFF_UP, change: IFF_UP }), name);
}

function indexOf(socket: RouteSocket, name: string): number {
  const message = linkMessage({ index: 0, flags: 0 }, [textAttribute(IFLA_IFNAME, name)]);
  try {
    const [answer] = socket.request(RTM_GETLINK, 0, message, name);
    if (answer !== undefined) return parseLink(answer).index;
  } catch (err) {
    if (!isErrno(err, 'ENODEV')) throw err;
  }
  throw notFound('Link not found');
}

function naming<T>(name: string, step: () => T): T {
  try {
    return step();
  } catch (err) {
    throw wrap(err, `network device ${JSON.stringify(name)}`);
  }
}

function withSocket(sys: Calls, use: (socket: RouteSocket) => void): void {
  const socket = new RouteSocket(sys);
  try {
    use(socket);
  } finally {
    socket.close();
  }
}

/** A socket belongs to the namespace in which it is made. */
function inNamespace(sys: Calls, namespace: number, run: () => void): void {
  const own = sys.openat(AT_FDCWD, '/proc/self/ns/net', O_RDONLY);
  try {
    sys.setns(namespace, CLONE_NEWNET);
    try {
      run();
    } finally {
      sys.setns(own, CLONE_NEWNET);
    }
  } finally {
    sys.close(own);
  }
}
