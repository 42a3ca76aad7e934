/**
 * What a bundle may ask for, checked before anything is done. What is not implemented is refused by an error that names
 * the field; nothing is ignored silently.
 */
import { existsSync } from 'node:fs';
import { failedPrecondition, invalidArgument } from '@gantry/errors';
import type { Process, Spec } from '@gantry/oci';
import type { CreateRequest } from './container.ts';
import { hasNew, namespaceFiles, namespaceOf } from './namespaces/plan.ts';
import { checkNetDevices } from './namespaces/net-devices.ts';
import { checkSysctls } from './namespaces/sysctl.ts';
import { appArmorEnabled } from './process/apparmor.ts';
import { checkLabel } from './process/selinux.ts';
import { checkResctrl } from './resctrl.ts';
import { checkUnprivileged, isUnprivileged } from './rootless.ts';

const idPattern = /^[A-Za-z0-9_+.-]+$/;
const MAX_ID_CHARACTERS = 1024;

/** Throws invalid argument, failed precondition or not implemented. */
export function validateCreate(request: CreateRequest): Process {
  const { id, bundle, spec } = request;
  if (!idPattern.test(id) || id === '.' || id === '..' || id.length > MAX_ID_CHARACTERS) {
    throw invalidArgument(`invalid container ID format: ${JSON.stringify(id.slice(0, 100))}`);
  }
  if (!bundle.startsWith('/')) throw invalidArgument(`bundle: must be absolute, not ${JSON.stringify(bundle)}`);
  if (request.rootfs.length === 0 && spec.root === undefined) throw invalidArgument('root: is required');
  if (spec.process === undefined) throw invalidArgument('process: is required');
  checkResctrl(spec.linux?.intelRdt);
  checkLabel(spec.linux?.mountLabel, 'linux.mountLabel');
  checkNetDevices(spec);
  if (isUnprivileged()) checkUnprivileged(spec);
  checkNamespaces(spec);
  checkSysctls(spec);
  validateProcess(spec.process, 'process');
  return spec.process;
}

/** The checks of a process that do not depend on its container. */
export function validateProcess(process: Process, field: string): void {
  const { selinuxLabel, apparmorProfile = '' } = process;
  checkLabel(selinuxLabel, `${field}.selinuxLabel`);
  if (apparmorProfile !== '' && apparmorProfile !== 'unconfined' && !appArmorEnabled()) {
    throw failedPrecondition(`${field}.apparmorProfile: apparmor is not enabled on this host`);
  }
}

function checkNamespaces(spec: Spec): void {
  const { hostname = '', domainname = '', linux = {} } = spec;
  if (namespaceOf(spec, 'mount') === undefined) {
    const { maskedPaths = [], readonlyPaths = [] } = linux;
    if (maskedPaths.length + readonlyPaths.length > 0) {
      throw invalidArgument('unable to restrict sys entries without a private MNT namespace');
    }
  }
  for (const { type } of linux.namespaces ?? []) {
    if (existsSync(`/proc/self/ns/${namespaceFiles[type]}`)) continue;
    throw failedPrecondition(`linux.namespaces: ${type} namespaces aren't enabled in the kernel`);
  }
  if (namespaceOf(spec, 'uts') === undefined) {
    if (hostname !== '') throw invalidArgument('unable to set hostname without a private UTS namespace');
    if (domainname !== '') throw invalidArgument('unable to set domainname without a private UTS namespace');
  }
  checkUserNamespace(spec);
  checkTimeNamespace(spec);
}

function checkUserNamespace(spec: Spec): void {
  const { uidMappings = [], gidMappings = [] } = spec.linux ?? {};
  const user = namespaceOf(spec, 'user');
  if (user === undefined) {
    if (uidMappings.length + gidMappings.length === 0) return;
    throw invalidArgument("user namespace mappings specified, but user namespace isn't enabled in the config");
  }
  if (user.path !== undefined) return;
  if (uidMappings.length === 0 || gidMappings.length === 0) {
    throw invalidArgument('user namespaces enabled, but no namespace path to join nor mappings to apply specified');
  }
}

function checkTimeNamespace(spec: Spec): void {
  if (spec.linux?.timeOffsets === undefined) return;
  if (namespaceOf(spec, 'time') === undefined) {
    throw invalidArgument("time namespace offsets specified, but time namespace isn't enabled in the config");
  }
  if (!hasNew(spec, 'time')) {
    throw invalidArgument(
      'time namespace enabled, but both namespace path and time offsets specified - you may only provide one',
    );
  }
}
