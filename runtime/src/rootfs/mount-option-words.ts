/** Every mount option with a meaning of its own (mount-options.ts), sorted; all others are the file system's. */
export const mountOptionWords: readonly string[] = (
  'acl async atime bind defaults dev diratime dirsync exec idmap iversion lazytime loud mand noacl noatime nodev nodiratime noexec ' +
  'noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime relatime remount rexec ' +
  'ridmap rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw ' +
  'rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync ' +
  'tmpcopyup unbindable'
).split(' ');
