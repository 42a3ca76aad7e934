/** What a container prints of itself, and the form in which the answers of two runtimes are compared. */
import { readlinkSync } from 'node:fs';

/** A script for busybox's shell: a line `@section`, then what it prints. Few processes, for every one costs a millisecond. */
export const probeScript = `
exec 2>&1
at() { echo "@$1"; shift; "$@"; }
at args echo "$*"
at cwd pwd
at env env
at umask umask
at status cat /proc/self/status
at limits cat /proc/self/limits
at oom cat /proc/self/oom_score_adj
at cgroup cat /proc/self/cgroup
at uidmap cat /proc/self/uid_map
at gidmap cat /proc/self/gid_map
at mount cat /proc/self/mountinfo
at fd ls /proc/self/fd
at ns ls -l /proc/self/ns
at host hostname
at ls ls -l / /mnt /opt
at ls ls -lR /dev
at ls ls -ld /mnt/new/* /mnt/made/* /deep/er/place /made /etc/link
at masked
for f in /proc/kcore /proc/timer_list /proc/keys /etc/masked; do read -r line < $f && test -n "$line" && echo $f has content; done
ls -ld /etc/masked /var/masked; ls -A /sys/firmware /proc/acpi /var/masked
at write
for d in /tmp /mnt/a /mnt/b /mnt/c /mnt/c/sub /var /made /; do test -d $d && : > $d/.w && echo $d && rm $d/.w; done
for f in /proc/sys/kernel/shmmax /proc/sysrq-trigger /etc/kept /etc/passwd; do test -w $f && echo $f; done
cd /proc/sys && at sysctl grep '' net/ipv4/ip_forward net/ipv4/ip_unprivileged_port_start kernel/shmmax kernel/msgmax fs/mqueue/msg_max
cd /sys/fs/cgroup && at limit grep '' memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes memory/memory.memsw.limit_in_bytes memory/memory.swappiness cpu/cpu.shares cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpuset/cpuset.cpus cpuset/cpuset.mems pids/pids.max devices/devices.list memory.max memory.low memory.swap.max cpu.weight cpu.max cpuset.cpus cpuset.mems pids.max
at net cat /sys/class/net/lo/operstate
ip -o addr show lo
cd /
at call mkdir /tmp/called
chmod 777 /etc/kept
mknod /tmp/node c 1 3
rm -rf /tmp/node /tmp/called /tmp/link
ln -s nowhere /tmp/link
at stdin cat
exit 7
`;

const statusFields = /^(?:Uid|Gid|Groups|NoNewPrivs|Seccomp|Cap\w+|Sig(?:Blk|Ign|Cgt)|Threads|Cpus_allowed_list):/;

/** Without values that are the kernel's or the moment's, not the runtime's; undefined when nothing is left. */
function normalLine(section: string, text: string): string | undefined {
  switch (section) {
    case 'status':
      return statusFields.test(text) ? text : undefined;
    case 'mount':
      return normalMount(text);
    case 'ls':
      return text
        .replace(/^(\S+) +\d+ (.*?) [A-Z][a-z]{2} [ \d]\d (?:[ \d]\d:\d\d| {1,2}\d{4}) /, '$1 $2 ')
        .replaceAll(/ +/g, ' ');
    case 'masked':
      return text.replace(/^(\S+) .* (\S+)$/, '$1 $2');
    case 'ns': {
      const [, name = '', target = ''] = /(\w+) -> (.*)$/.exec(text) ?? [];
      if (name === '') return undefined;
      return `${name} ${readlinkSync(`/proc/self/ns/${name}`) === target ? 'of the host' : 'its own'}`;
    }
    default:
      return text;
  }
}

/** `36 35 98:0 /root /point options shared:1 - type source super` without the numbers that the kernel gives out. */
function normalMount(line: string): string {
  const [, , , root = '', point = '', options = '', ...rest] = line.split(' ');
  const end = rest.indexOf('-');
  const propagation = rest.slice(0, end).map((word) => word.replace(/:\d+$/, ''));
  const [type = '', source = '', superOptions = ''] = rest.slice(end + 1);
  return [point, root, options, ...propagation, '-', type, source, superOptions].join(' ');
}

/** The comparable lines of an output, each with its section. `places` are replaced by their names. */
export function seen(stdout: string, places: readonly (readonly [string, string])[]): string[] {
  let section = '';
  return stdout.split('\n').flatMap((line) => {
    if (line.startsWith('@')) section = line.slice(1);
    if (line === '' || line.startsWith('@')) return [];
    const text = places.reduce((before, [place, name]) => before.replaceAll(place, name), line);
    const normal = normalLine(section, text);
    return normal === undefined ? [] : [`${section}: ${normal}`];
  });
}
