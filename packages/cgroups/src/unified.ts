/** `linux.resources.unified`: files of a v2 group written as the configuration has them, after everything else. */
import { failedPrecondition, invalidArgument } from '@gantry/errors';
import { isErrno } from '@gantry/libc';
import { limitError, readGroupFile, writeGroupFile } from './group-file.ts';

export function writeUnified(directory: string, unified: Readonly<Record<string, string>>): void {
  for (const [file, text] of Object.entries(unified)) {
    const field = `linux.resources.unified[${JSON.stringify(file)}]`;
    if (file === '' || file.includes('/') || !file.includes('.') || file.startsWith('.')) {
      throw invalidArgument(`${field}: not the name of a control group file`);
    }
    // The kernel takes one setting a write.
    for (const line of text.trimEnd().split('\n')) writeLine(directory, file, line, field);
  }
}

function writeLine(directory: string, file: string, line: string, field: string): void {
  try {
    writeGroupFile(directory, file, line);
  } catch (err) {
    const controller = file.slice(0, file.indexOf('.'));
    const available = readGroupFile(directory, 'cgroup.controllers')?.trim().split(' ') ?? [];
    if (isErrno(err, 'ENOENT', 'EPERM', 'EACCES') && controller !== 'cgroup' && !available.includes(controller)) {
      throw failedPrecondition(
        `unified resource ${JSON.stringify(file)} can't be set: controller ${JSON.stringify(controller)} not available`,
        { field },
        err,
      );
    }
    throw limitError(err, file, line, field);
  }
}
