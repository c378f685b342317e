/// What the guest image consists of. The cache's key is a hash of all of it, so that a changed recipe
/// makes a new image and an unchanged one is never built twice.
struct GuestRecipe {
  static let suite = "trixie"
  static let diskSize = "2G"

  /// On top of debootstrap's minbase. `util-linux-extra` has the hwclock that qemu-ga calls.
  static let packages = [
    "dbus", "iproute2", "linux-image-cloud-amd64", "nginx-light", "openssh-server", "procps",
    "qemu-guest-agent", "socat", "systemd", "systemd-sysv", "udev", "util-linux-extra",
  ]

  /// What the initramfs loads, with all that these depend on; the rest is built into Debian's kernel.
  static let modules = ["virtio_blk", "virtio_net", "virtio_balloon"]

  /// Text files of the root file system, by path.
  static var files: [String: String] {
    var files = [
      "etc/hostname": "guest\n",
      "etc/hosts": "127.0.0.1 localhost guest\n::1 localhost guest\n",
      "etc/fstab": "",
      "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
      "etc/ssh/sshd_config.d/guest.conf": sshd,
      "etc/systemd/journald.conf.d/guest.conf": """
      [Journal]
      Storage=volatile
      RuntimeMaxUse=4M

      """,
      "etc/nginx/nginx.conf": nginx,
      "var/www/guest/index.html": "<!doctype html><title>guest</title><p>awake</p>\n",
      "etc/systemd/system/echo-tcp.service": echo(
        "TCP", "TCP6-LISTEN:7777,fork,reuseaddr,ipv6-v6only=0,backlog=128"),
      "etc/systemd/system/echo-udp.service": echo(
        "UDP", "UDP6-RECVFROM:7777,fork,ipv6-v6only=0"),
      // Of all devices only the agent's port has a unit that waits for udev; the kernel makes the nodes.
      dropIn("systemd-udev-trigger"): """
      [Service]
      ExecStart=
      ExecStart=/usr/bin/udevadm trigger --action=add --subsystem-match=virtio-ports

      """,
      dropIn("nginx"): "[Service]\nExecStartPre=\n",
      dropIn("ssh"): "[Service]\nExecStartPre=\n",
    ]
    for unit in ["systemd-journald", "systemd-udevd"] { files[dropIn(unit)] = unconfined }
    return files
  }

  /// Symbolic links of the root file system, by path.
  static var links: [String: String] {
    var links = [
      "etc/systemd/system/default.target": "/usr/lib/systemd/system/multi-user.target",
      "etc/systemd/system/multi-user.target.wants/echo-tcp.service": "../echo-tcp.service",
      "etc/systemd/system/multi-user.target.wants/echo-udp.service": "../echo-udp.service",
    ]
    for unit in maskedUnits { links["etc/systemd/system/\(unit)"] = "/dev/null" }
    for generator in maskedGenerators {
      links["etc/systemd/system-generators/\(generator)"] = "/dev/null"
    }
    return links
  }

  /// Files that packages bring along and the guest is better off without.
  static let removed = [
    "boot/*", "etc/ssh/ssh_host_*", "usr/lib/systemd/system/multi-user.target.wants/dbus.service",
    "var/cache/apt/archives/*.deb", "var/lib/apt/lists/*", "var/log/*.log",
  ]

  /// /init of the initramfs: drivers, addresses from `dormouse.address=`, the root file system.
  ///
  /// Duplicate address detection would keep the addresses from use for a second, and there is no router to
  /// listen to.
  static let initScript = """
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
    if [ -d /proc/sys/net/ipv6/conf/eth0 ]; then
      echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad
      echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_ra
      IFS=,
      for address in $addresses; do $bb ip addr add $address dev eth0; done
      unset IFS
      $bb ip link set eth0 up
    fi
    tries=0
    until [ -b /dev/vda ] || [ $tries = 200 ]; do $bb usleep 20000; tries=$((tries + 1)); done
    $bb mount -t ext4 /dev/vda /root || { echo "no root file system on /dev/vda"; exec $bb sh; }
    $bb umount /proc
    $bb mount --move /dev /root/dev
    exec $bb switch_root /root /sbin/init

    """

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

  /// Of all that goes into the image; the kernel's arguments do not. The names of files in the cache are
  /// part of it too: the format of the directory.
  static var hash: String {
    let text =
      ["format 1", suite, diskSize] + packages + modules + removed
      + [initScript]
      + files.sorted { $0.key < $1.key }.flatMap { [$0.key, $0.value] }
      + links.sorted { $0.key < $1.key }.flatMap { [$0.key, $0.value] }
    // FNV-1a, 64 bits: it only has to tell one recipe from the next.
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in text.joined(separator: "\0").utf8 {
      hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3
    }
    return String(hash, radix: 16)
  }

  // MARK: - Services

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

  private static let nginx = """
    worker_processes 1;
    pid /run/nginx.pid;
    error_log /dev/null;
    events { worker_connections 512; }
    http {
      access_log off;
      default_type text/html;
      keepalive_timeout 3600;
      keepalive_requests 1000000;
      server {
        listen 80 default_server;
        listen [::]:80 default_server;
        root /var/www/guest;
      }
    }

    """

  private static func echo(_ name: String, _ listener: String) -> String {
    """
    [Unit]
    Description=\(name) echo on port 7777
    After=network.target

    [Service]
    ExecStart=/usr/bin/socat \(listener) PIPE

    [Install]
    WantedBy=multi-user.target

    """
  }

  private static func dropIn(_ unit: String) -> String {
    "etc/systemd/system/\(unit).service.d/guest.conf"
  }

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
