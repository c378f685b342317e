/// The image of an emulated host: what a server has that runs virtual machines on KVM.
enum EmulatedHostRecipe {
  static let image = ImageRecipe(
    name: "emulated host's image", packages: packages,
    // The rest, such as clsact, u32 and mirred, is loaded when it is asked for, as on any host.
    modules: ["virtio_blk", "virtio_net", "bridge", "kvm-amd"],
    files: EmulatedSystem.files(hostName: "host").merging(files) { $1 },
    links: EmulatedSystem.links(keeping: deviceNodes).merging(links) { $1 },
    removed: EmulatedSystem.removed + ["usr/share/doc", "usr/share/locale", "usr/share/man"],
    initScript: EmulatedSystem.initScript(networkSetup: networkSetup))

  /// What dormoused and QEMU need; libsqlite3 and libstdc++ are what our programs are linked with, beside
  /// Swift's own libraries.
  private static let packages = [
    "dbus", "dmsetup", "e2fsprogs", "iproute2", "kmod", "libsqlite3-0", "libstdc++6",
    "linux-image-cloud-amd64", "openssh-server", "procps", "qemu-system-x86", "qemu-utils",
    "systemd", "systemd-sysv", "udev", "util-linux-extra",
  ]

  /// Everything that is logged is to be had from outside, also when the host no longer answers.
  private static let files = [
    "etc/systemd/journald.conf.d/console.conf": """
    [Journal]
    ForwardToConsole=yes
    MaxLevelConsole=info

    """
  ]

  private static let links = [
    "etc/systemd/system/multi-user.target.wants/ssh.service":
      "/usr/lib/systemd/system/ssh.service"
  ]

  /// They make /dev/net/tun, whose driver is loaded when it is opened.
  private static let deviceNodes = [
    "kmod-static-nodes.service", "systemd-tmpfiles-setup-dev-early.service",
    "systemd-tmpfiles-setup-dev.service",
  ]

  /// The interface is a port of the bridge, as on a host whose machines are on the network.
  private static let networkSetup = """
    $bb ip link add br0 type bridge
    echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6
    echo 0 > /proc/sys/net/ipv6/conf/br0/accept_dad
    echo 0 > /proc/sys/net/ipv6/conf/br0/accept_ra
    IFS=,
    for address in $addresses; do $bb ip addr add $address dev br0; done
    unset IFS
    $bb ip link set eth0 master br0
    $bb ip link set eth0 up
    $bb ip link set br0 up
    """
}
