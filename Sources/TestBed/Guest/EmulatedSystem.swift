/// What the lab's Debian systems have in common, guests and emulated hosts: they run under software
/// emulation, log in quickly, and do nothing that they were not asked for.
enum EmulatedSystem {
  /// Text files of the root file system, by path.
  static func files(hostName: String) -> [String: String] {
    var files = [
      "etc/hostname": "\(hostName)\n",
      "etc/hosts": "127.0.0.1 localhost \(hostName)\n::1 localhost \(hostName)\n",
      "etc/fstab": "",
      "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
      "etc/ssh/sshd_config.d/guest.conf": sshd,
      "etc/systemd/journald.conf.d/guest.conf": """
      [Journal]
      Storage=volatile
      RuntimeMaxUse=4M

      """,
      // Of all devices only the agent's port has a unit that waits for udev; the kernel makes the nodes.
      dropIn("systemd-udev-trigger"): """
      [Service]
      ExecStart=
      ExecStart=/usr/bin/udevadm trigger --action=add --subsystem-match=virtio-ports

      """,
      dropIn("ssh"): "[Service]\nExecStartPre=\n",
    ]
    for unit in ["systemd-journald", "systemd-udevd"] { files[dropIn(unit)] = unconfined }
    return files
  }

  /// Symbolic links of the root file system, by path.
  ///
  /// - Parameter wanted: units to leave as they are.
  static func links(keeping wanted: [String] = []) -> [String: String] {
    var links = [
      "etc/systemd/system/default.target": "/usr/lib/systemd/system/multi-user.target"
    ]
    for unit in maskedUnits where !wanted.contains(unit) {
      links["etc/systemd/system/\(unit)"] = "/dev/null"
    }
    for generator in maskedGenerators {
      links["etc/systemd/system-generators/\(generator)"] = "/dev/null"
    }
    return links
  }

  static let removed = [
    "boot/*", "etc/ssh/ssh_host_*", "usr/lib/systemd/system/multi-user.target.wants/dbus.service",
    "var/cache/apt/archives/*.deb", "var/lib/apt/lists/*", "var/log/*.log",
  ]

  /// /init of the initramfs: drivers, addresses from `dormouse.address=`, the root file system.
  ///
  /// - Parameter networkSetup: gives `$addresses`, separated by commas, to an interface. Duplicate address
  ///   detection would keep them from use for a second, and there is no router to listen to.
  static func initScript(networkSetup: String) -> String {
    """
    #!/bin/busybox sh
    bb=/bin/busybox
    $bb mount -t proc proc /proc
    $bb mount -t devtmpfs dev /dev
    for module in /modules/*; do $bb insmod $module; done
    addresses=
    for word in $($bb cat /proc/cmdline); do
      case $word in dormouse.address=*) addresses=${word#*=} ;; esac
    done
    $bb ip link set lo up
    \(networkSetup)
    tries=0
    until [ -b /dev/vda ] || [ $tries = 200 ]; do $bb usleep 20000; tries=$((tries + 1)); done
    $bb mount -t ext4 /dev/vda /root || { echo "no root file system on /dev/vda"; exec $bb sh; }
    $bb umount /proc
    $bb mount --move /dev /root/dev
    exec $bb switch_root /root /sbin/init

    """
  }

  /// Kernel arguments that make a difference of seconds under software emulation: no mitigations, no
  /// security modules to compile, no self-tests, none of the processor features that are slow to emulate.
  /// And that let an idle guest idle: no watchdogs, and no HPET, which once in use makes QEMU's main loop
  /// run 250 times a second.
  static let kernelArguments = [
    "root=/dev/vda", "rw", "console=ttyS0", "quiet", "net.ifnames=0", "systemd.show_status=0",
    "mitigations=off", "audit=0", "nowatchdog", "lsm=capability", "i8042.noaux", "i8042.nokbd",
    "clearcpuid=smap,pku", "no5lvl", "random.trust_cpu=on", "hpet=disable", "cryptomgr.notests",
    "initcall_blacklist=load_system_certificate_list,jent_mod_init",
  ]

  static func dropIn(_ unit: String) -> String {
    "etc/systemd/system/\(unit).service.d/guest.conf"
  }

  /// No name look-ups and no PAM: a login must cost milliseconds. No keepalives of its own: the
  /// tests bring the client's.
  private static let sshd = """
    HostKey /etc/ssh/ssh_host_ed25519_key
    PermitRootLogin prohibit-password
    PasswordAuthentication no
    UsePAM no
    UseDNS no
    PrintMotd no
    PrintLastLog no
    ClientAliveInterval 0
    MaxStartups 100

    """

  /// Seccomp filters and namespaces cost an emulated processor half a second per service.
  private static let unconfined = """
    [Service]
    SystemCallFilter=
    SystemCallArchitectures=
    RestrictAddressFamilies=
    RestrictNamespaces=no
    RestrictRealtime=no
    RestrictSUIDSGID=no
    MemoryDenyWriteExecute=no
    LockPersonality=no
    ProtectHostname=no
    ProtectClock=no
    ProtectKernelLogs=no
    IPAddressDeny=
    PrivateMounts=no
    NoNewPrivileges=no
    DeviceAllow=
    DevicePolicy=auto

    """

  /// Timers that would wake an idle guest, and work at boot that an image made for one purpose
  /// does not need.
  private static let maskedUnits = [
    "apt-daily-upgrade.timer", "apt-daily.timer", "dev-hugepages.mount", "dev-mqueue.mount",
    "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer",
    "getty-static.service", "getty@tty1.service", "kmod-static-nodes.service",
    "ldconfig.service", "logrotate.timer", "modprobe@.service",
    "proc-sys-fs-binfmt_misc.automount", "proc-sys-fs-binfmt_misc.mount", "run-lock.mount",
    "serial-getty@ttyS0.service", "sshd-keygen.service", "sshd-unix-local.socket",
    "sys-fs-fuse-connections.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
    "systemd-ask-password-console.path", "systemd-ask-password-wall.path",
    "systemd-binfmt.service", "systemd-boot-random-seed.service", "systemd-creds.socket",
    "systemd-firstboot.service", "systemd-hibernate-clear.service", "systemd-hostnamed.socket",
    "systemd-hwdb-update.service", "systemd-initctl.socket",
    "systemd-journal-catalog-update.service", "systemd-journal-flush.service",
    "systemd-logind.service", "systemd-machine-id-commit.service",
    "systemd-modules-load.service", "systemd-pcrextend.socket", "systemd-pcrlock.socket",
    "systemd-pcrmachine.service", "systemd-pcrphase-sysinit.service",
    "systemd-pcrphase.service", "systemd-pstore.service", "systemd-random-seed.service",
    "systemd-remount-fs.service", "systemd-sysctl.service", "systemd-sysext.socket",
    "systemd-sysusers.service", "systemd-tmpfiles-clean.timer",
    "systemd-tmpfiles-setup-dev-early.service", "systemd-tmpfiles-setup-dev.service",
    "systemd-tmpfiles-setup.service", "systemd-tpm2-setup-early.service",
    "systemd-tpm2-setup.service", "systemd-udev-load-credentials.service",
    "systemd-update-done.service", "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service", "systemd-user-sessions.service", "tmp.mount",
  ]

  private static let maskedGenerators = [
    "systemd-debug-generator", "systemd-fstab-generator", "systemd-getty-generator",
    "systemd-gpt-auto-generator", "systemd-hibernate-resume-generator",
    "systemd-rc-local-generator", "systemd-run-generator", "systemd-ssh-generator",
    "systemd-system-update-generator", "systemd-sysv-generator", "systemd-tpm2-generator",
  ]
}
