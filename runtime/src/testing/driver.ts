/** Carries out one scenario: `node --single-threaded driver.js DIR`, see scenario.ts. For tests only. */
import { spawnSync } from 'node:child_process';
import { existsSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf, messageOf } from '@gantry/errors';
import {
  AT_FDCWD,
  AT_RECURSIVE,
  CLONE_NEWNS,
  linux,
  MS_PRIVATE,
  MS_SHARED,
  POLLIN,
  PR_SET_CHILD_SUBREAPER,
} from '@gantry/libc';
import { parseSpec } from '@gantry/oci';
import type { Container } from '../container.ts';
import { createContainer } from '../create.ts';
import { deleteLeftovers } from '../delete.ts';
import type { Scenario, Step, StepResult } from './scenario.ts';

const [, , dir = ''] = process.argv;
const scenario = JSON.parse(readFileSync(join(dir, 'scenario.json'), 'utf8')) as Scenario;
const outputFile = join(dir, 'output');

function describe(err: unknown): { code: string; message: string } {
  return { code: codeOf(err), message: messageOf(err) };
}

function descriptors(): string[] {
  return readdirSync('/proc/self/fd').toSorted();
}

function readUntil(fd: number, until: string): string {
  const deadline = performance.now() + 5000;
  let text = '';
  while (!text.includes(until) && performance.now() < deadline) {
    const [ready = 0] = linux.poll([{ fd, events: POLLIN }], 200);
    if (ready === 0) continue;
    const chunk = Buffer.alloc(65_536);
    try {
      text += chunk.toString('utf8', 0, linux.read(fd, chunk) ?? 0);
    } catch {
      break;
    }
  }
  return text;
}

function exec(container: Container, step: Step & { do: 'exec' }): StepResult {
  const file = join(dir, 'exec-output');
  const out = openSync(file, 'w+');
  try {
    const { pid, console } = container.exec({
      process: step.process,
      stdio: { stdin: -1, stdout: out, stderr: out },
      timeoutMs: 5000,
    });
    if (console !== undefined) {
      if (step.input !== undefined) linux.write(console, Buffer.from(step.input));
      const output = readUntil(console, 'END');
      const status = linux.wait4(pid, 0)?.exitStatus ?? -1;
      linux.close(console);
      return { status, output };
    }
    if (step.wait === false) return { value: pid };
    const status = linux.wait4(pid, 0)?.exitStatus ?? -1;
    return { status, output: readFileSync(file, 'utf8') };
  } finally {
    linux.close(out);
  }
}

function carryOut(container: Container, step: Step): StepResult {
  switch (step.do) {
    case 'start':
      container.start();
      return {};
    case 'wait':
      return { status: linux.wait4(container.pid, 0)?.exitStatus ?? -1 };
    case 'exec':
      return exec(container, step);
    case 'kill':
      container.kill(step.signal, { all: step.all ?? false });
      return {};
    case 'pause':
      container.pause();
      return { value: container.isPaused() };
    case 'resume':
      container.resume();
      return { value: container.isPaused() };
    case 'pids':
      return { value: container.pids() };
    case 'stats':
      return { value: container.stats().kind };
    case 'oomKills':
      return { value: container.cgroup.oomKills() };
    case 'destroy':
      container.destroy();
      return {};
    case 'forget':
      deleteLeftovers(linux, dir);
      return {};
    case 'terminal': {
      if (container.console === undefined) throw new Error('no terminal');
      if (step.input !== undefined) linux.write(container.console, Buffer.from(step.input));
      return { output: readUntil(container.console, step.until) };
    }
    case 'host': {
      const [command = '', ...args] = step.command.map((word) => word.replaceAll('PID', String(container.pid)));
      const { stdout, stderr, status } = spawnSync(command, args, { encoding: 'utf8' });
      return { output: stdout + stderr, status: status ?? -1 };
    }
    case 'sleep':
      linux.poll([], step.ms);
      return {};
  }
}

function leaks(before: { mounts: string; fds: string[] }, container: Container | undefined): string[] {
  const found: string[] = [];
  // A mount may go by itself, when somebody elsewhere removes the directory it is on; none may come.
  const known = new Set(before.mounts.split('\n'));
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  found.push(...mounts.filter((line) => !known.has(line)).map((line) => `the mount ${line}`));
  if (container?.console !== undefined) linux.close(container.console);
  const fds = descriptors().filter((fd) => !before.fds.includes(fd));
  if (fds.length > 0) found.push(`descriptors ${fds.join(' ')}`);
  try {
    const child = linux.wait4(-1, 1);
    found.push(child === undefined ? 'a running child' : `an unreaped child ${child.pid}`);
  } catch {
    // ECHILD: none, as it should be.
  }
  for (const name of ['memory', 'pids', 'unified', 'freezer', '.']) {
    const path = join('/sys/fs/cgroup', name, scenario.spec.linux?.cgroupsPath ?? '');
    if (existsSync(path)) found.push(path);
  }
  for (const name of ['state.json', 'init.pid']) if (existsSync(join(dir, name))) found.push(name);
  return found;
}

linux.prctl(PR_SET_CHILD_SUBREAPER, 1n);
// A mount table that nobody else changes, every mount of which would show what a container does to it.
linux.unshare(CLONE_NEWNS);
for (const propagation of [MS_PRIVATE, MS_SHARED]) {
  linux.mountSetattr(AT_FDCWD, '/', AT_RECURSIVE, { set: 0, clear: 0, propagation });
}
// What the first use opens for good is not a leak.
readFileSync('/proc/self/mountinfo', 'utf8');
const out = openSync(outputFile, 'w+');
const before = { mounts: readFileSync('/proc/self/mountinfo', 'utf8'), fds: descriptors() };
const steps: StepResult[] = [];
let error: StepResult['error'];
let container: Container | undefined;
try {
  container = createContainer(linux, {
    id: scenario.id,
    bundle: dir,
    spec: parseSpec(JSON.stringify(scenario.spec)),
    rootfs: scenario.rootfs ?? [],
    stdio: { stdin: -1, stdout: out, stderr: out },
    noPivot: scenario.noPivot ?? false,
    timeoutMs: scenario.timeoutMs ?? 5000,
  });
} catch (err) {
  error = describe(err);
}
if (container !== undefined) {
  for (const step of scenario.steps) {
    try {
      steps.push(carryOut(container, step));
    } catch (err) {
      steps.push({ error: describe(err) });
    }
  }
}
const result = {
  ...(error === undefined ? {} : { error }),
  steps,
  leaks: leaks(before, container),
  output: readFileSync(outputFile, 'utf8'),
};
writeFileSync(join(dir, 'result.json'), JSON.stringify(result));
