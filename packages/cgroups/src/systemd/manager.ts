/** systemd's manager as a control group driver needs it (org.freedesktop.systemd1(5)). */
import { existsSync } from 'node:fs';
import { failedPrecondition, internal, unavailable, wrap } from '@gantry/errors';
import { Bus, isBusError } from './bus.ts';
import type { BusCalls } from './bus.ts';
import type { Property } from './properties.ts';
import type { BusValue } from './wire.ts';

/** The system's manager, or the one of the calling user. */
export type ManagerKind = 'system' | 'user';

const busName = 'org.freedesktop.systemd1';
const path = '/org/freedesktop/systemd1';
const managerInterface = 'org.freedesktop.systemd1.Manager';

export class SystemdManager {
  readonly #bus: Bus;
  /** systemd's own socket has one peer and no names. */
  readonly #isDirect: boolean;

  private constructor(bus: Bus, isDirect: boolean) {
    this.#bus = bus;
    this.#isDirect = isDirect;
  }

  /** Failed precondition where systemd does not run; unavailable when none of its sockets answers. */
  static connect(sys: BusCalls, kind: ManagerKind): SystemdManager {
    if (!existsSync('/run/systemd/system')) {
      throw failedPrecondition('systemd not running on this host, cannot use systemd cgroups manager');
    }
    const uid = ownerId();
    let failure: unknown;
    for (const { socket, isDirect } of sockets(kind)) {
      try {
        const manager = new SystemdManager(Bus.connect(sys, socket, uid), isDirect);
        manager.#greet();
        return manager;
      } catch (err) {
        failure ??= err;
      }
    }
    throw failure === undefined
      ? unavailable('no D-Bus session of this user: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set')
      : wrap(failure, `systemd's ${kind} manager`, 'unavailable');
  }

  close(): void {
    this.#bus.close();
  }

  #greet(): void {
    if (!this.#isDirect) {
      const bus = {
        destination: 'org.freedesktop.DBus',
        path: '/org/freedesktop/DBus',
        interface: 'org.freedesktop.DBus',
      };
      this.#bus.call({ ...bus, member: 'Hello' });
      const rule = `type='signal',interface='${managerInterface}',member='JobRemoved'`;
      this.#bus.call({ ...bus, member: 'AddMatch', signature: 's', body: [rule] });
    }
    this.#call('Subscribe', '', []);
  }

  #call(member: string, signature: string, body: readonly BusValue[], iface = managerInterface): readonly BusValue[] {
    const destination = this.#isDirect ? {} : { destination: busName };
    return this.#bus.call({ ...destination, path, interface: iface, member, signature, body });
  }

  #property(name: string): string {
    const body = [managerInterface, name];
    const [answer] = this.#call('Get', 'ss', body, 'org.freedesktop.DBus.Properties');
    const isVariant = typeof answer === 'object' && 'signature' in answer;
    if (!isVariant || typeof answer.value !== 'string') throw internal(`systemd has no property ${name}`);
    return answer.value;
  }

  /** The generation of its properties, 252 for instance; 0 for one that does not say. */
  version(): number {
    return Number(/\d+/.exec(this.#property('Version'))?.[0] ?? 0);
  }

  /** The group below which its units are: '' for the system's. */
  ownGroup(): string {
    const group = this.#property('ControlGroup');
    return group === '/' ? '' : group;
  }

  /** Makes the unit and waits until it is there. A unit of that name that has failed is forgotten first. */
  startTransient(unit: string, properties: readonly Property[]): void {
    const start = (): void =>
      this.#job(unit, 'StartTransientUnit', 'ssa(sv)a(sa(sv))', [unit, 'replace', properties, []]);
    try {
      start();
    } catch (err) {
      if (!isBusError(err, 'UnitExists')) throw wrap(err, `starting systemd unit ${unit}`);
      // A slice is everybody's; a scope that is left over has failed.
      if (unit.endsWith('.slice')) return;
      this.resetFailed(unit);
      try {
        start();
      } catch (again) {
        throw wrap(again, `starting systemd unit ${unit}`);
      }
    }
  }

  setProperties(unit: string, properties: readonly Property[]): void {
    if (properties.length === 0) return;
    try {
      this.#call('SetUnitProperties', 'sba(sv)', [unit, true, properties]);
    } catch (err) {
      throw wrap(err, `setting properties of systemd unit ${unit}`);
    }
  }

  /** Ends the unit with its processes. One that is gone is no error. */
  stop(unit: string): void {
    try {
      this.#job(unit, 'StopUnit', 'ss', [unit, 'replace']);
    } catch (err) {
      if (!isBusError(err, 'NoSuchUnit')) throw wrap(err, `stopping systemd unit ${unit}`);
    }
    this.resetFailed(unit);
  }

  resetFailed(unit: string): void {
    try {
      this.#call('ResetFailedUnit', 's', [unit]);
    } catch (err) {
      if (!isBusError(err, 'NoSuchUnit')) throw wrap(err, `resetting systemd unit ${unit}`);
    }
  }

  #job(unit: string, member: string, signature: string, body: readonly BusValue[]): void {
    const [job] = this.#call(member, signature, body);
    const [, , , result] = this.#bus.signal('JobRemoved', ([, ended]) => ended === job);
    if (result !== 'done') throw internal(`systemd job ${member} of ${unit}: ${String(result)}`);
  }
}

/** In a user namespace the bus knows the caller by the id that root has outside. */
function ownerId(): number {
  return process.geteuid?.() ?? 0;
}

function sockets(kind: ManagerKind): { socket: string; isDirect: boolean }[] {
  const environment = (name: string): string => process.env[name] ?? '';
  const bus = (address: string, usual: string): { socket: string; isDirect: boolean }[] => {
    const socket = /(?:^|;)unix:(?:[^;]*,)?path=([^,;]+)/.exec(address)?.[1] ?? usual;
    return socket === '' ? [] : [{ socket: decodeURIComponent(socket), isDirect: false }];
  };
  if (kind === 'system') {
    return [
      { socket: '/run/systemd/private', isDirect: true },
      ...bus(environment('DBUS_SYSTEM_BUS_ADDRESS'), '/run/dbus/system_bus_socket'),
    ];
  }
  const runtimeDir = environment('XDG_RUNTIME_DIR');
  return [
    ...bus(environment('DBUS_SESSION_BUS_ADDRESS'), runtimeDir === '' ? '' : `${runtimeDir}/bus`),
    ...(runtimeDir === '' ? [] : [{ socket: `${runtimeDir}/systemd/private`, isDirect: true }]),
  ];
}
