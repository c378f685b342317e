/// The guest image: what a virtual machine of the lab serves.
enum GuestRecipe {
  static let image = ImageRecipe(
    name: "guest image", packages: packages,
    modules: ["virtio_blk", "virtio_net", "virtio_balloon"],
    files: EmulatedSystem.files(hostName: "guest").merging(files) { $1 },
    links: EmulatedSystem.links().merging(links) { $1 },
    removed: EmulatedSystem.removed,
    initScript: EmulatedSystem.initScript(networkSetup: networkSetup))

  /// On top of debootstrap's minbase. `util-linux-extra` has the hwclock that qemu-ga calls.
  private static let packages = [
    "dbus", "iproute2", "linux-image-cloud-amd64", "nginx-light", "openssh-server", "procps",
    "qemu-guest-agent", "socat", "systemd", "systemd-sysv", "udev", "util-linux-extra",
  ]

  private static let files = [
    "etc/nginx/nginx.conf": nginx,
    "var/www/guest/index.html": "<!doctype html><title>guest</title><p>awake</p>\n",
    // In blocks of PIPE_BUF: the pipe has one reader, which is its writer. Where it looks writable and has no
    // room for a whole block, that one waits for itself (pipe(7)).
    "etc/systemd/system/echo-tcp.service": echo(
      "TCP", "-b 4096 TCP6-LISTEN:7777,fork,reuseaddr,ipv6-v6only=0,backlog=128"),
    "etc/systemd/system/echo-udp.service": echo(
      "UDP", "UDP6-RECVFROM:7777,fork,ipv6-v6only=0"),
    EmulatedSystem.dropIn("nginx"): "[Service]\nExecStartPre=\n",
  ]

  private static let links = [
    "etc/systemd/system/multi-user.target.wants/echo-tcp.service": "../echo-tcp.service",
    "etc/systemd/system/multi-user.target.wants/echo-udp.service": "../echo-udp.service",
  ]

  /// A guest that is run without a network has no `eth0`.
  private static let networkSetup = """
    if [ -d /proc/sys/net/ipv6/conf/eth0 ]; then
      echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad
      echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_ra
      IFS=,
      for address in $addresses; do $bb ip addr add $address dev eth0; done
      unset IFS
      $bb ip link set eth0 up
    fi
    """

  // MARK: - Services

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
}
