/**
 * An agent for tests: `node seccomp-agent.js SOCKET COUNT` takes one seccomp listener (seccomp_unotify(2)), prints the
 * message that came with it, and lets `COUNT` calls fail with ENOMEDIUM, printing the number of each.
 */
import { writeSync } from 'node:fs';
import { SOCK_STREAM } from '../constants.ts';
import { linux } from '../linux.ts';
import { check, declare } from '../native.ts';

const c = declare('glibc', {
  // int ioctl(int fd, unsigned long request, struct seccomp_notif *)
  ioctl: 'int ioctl(int fd, ulong request, void *arg)',
});

const SECCOMP_IOCTL_NOTIF_RECV = 0xc050_2100;
const SECCOMP_IOCTL_NOTIF_SEND = 0xc018_2101;
const NOTIFICATION_BYTES = 80;
const RESPONSE_BYTES = 24;
const ENOMEDIUM = 123;

const [, , path = '', count = '1'] = process.argv;
const server = linux.listenUnix(path, SOCK_STREAM);
writeSync(1, 'listening\n');
const message = linux.receiveMessage(linux.accept(server), 64 * 1024);
const [listener = -1] = message?.fds ?? [];
writeSync(1, `${message?.data.toString() ?? ''}\n`);
for (let left = Number(count); left > 0; left--) {
  const notification = Buffer.alloc(NOTIFICATION_BYTES);
  check(c.ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, notification), 'ioctl', 'receive');
  const response = Buffer.alloc(RESPONSE_BYTES);
  notification.copy(response, 0, 0, 8);
  response.writeInt32LE(-ENOMEDIUM, 16);
  check(c.ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, response), 'ioctl', 'send');
  writeSync(1, `${notification.readInt32LE(16)}\n`);
}
