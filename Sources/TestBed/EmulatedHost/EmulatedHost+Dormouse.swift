/// Dormouse as a service of an emulated host.
extension Drive {
  /// A disk with the programs under test, their unit file, what they are linked with and the host does not
  /// have, and a guest's kernel, for ``EmulatedHost/installDormouse(from:)``.
  public static func dormouse(guest: GuestImage, in lab: Lab) async throws -> Drive {
    var files = [
      "dormoused.service": lab.checkout + "/dist/dormoused.service",
      "guest-kernel": guest.kernel, "guest-initrd": guest.initrd,
    ]
    for name in ["dormouse", "dormoused", "dormouse-sentry"] {
      let program = try lab.program(name)
      files[name] = program
      for library in try await libraries(of: program) {
        files[String(library.split(separator: "/").last ?? "")] = library
      }
    }
    return try await .files(files, in: lab)
  }

  /// The libraries that a program is linked with and that come with the compiler, not with Debian.
  private static func libraries(of program: String) async throws -> [String] {
    let lines = try await Command.run("ldd", program).split(separator: "\n")
    return lines.compactMap { line in
      let words = line.split { $0 == " " || $0 == "\t" }
      guard words.count >= 3, words[1] == "=>" else { return nil }
      let isDebian = ["/lib/x86_64", "/usr/lib/x86_64"].contains { words[2].hasPrefix($0) }
      return isDebian ? nil : String(words[2])
    }
  }
}

extension EmulatedHost {
  /// Where ``installDormouse(from:)`` puts the guest's kernel and initramfs.
  public static let guestKernel = "/opt/dormouse/guest-kernel"
  public static let guestInitrd = "/opt/dormouse/guest-initrd"

  /// Installs what is on a disk made by ``Drive/dormouse(guest:in:)`` and starts the daemon as systemd's
  /// service. The programs stay on their disk, where they find their libraries beside them.
  ///
  /// - Parameter device: the disk, such as `/dev/vdb`.
  /// - Returns: the path of the daemon's API socket, here.
  public nonisolated func installDormouse(
    from device: String, within deadline: Duration = .seconds(60)
  ) async throws -> String {
    try await run(
      """
      set -e
      mkdir -p /opt/dormouse
      mount -o ro \(device) /opt/dormouse
      for program in dormouse dormoused dormouse-sentry; do
        ln -s /opt/dormouse/$program /usr/bin/$program
      done
      install -m 644 /opt/dormouse/dormoused.service /etc/systemd/system/
      systemctl daemon-reload
      systemctl enable --now dormoused
      # The sentry's own log joins the journal, and so reaches the serial log.
      systemd-run --quiet tail --follow=name --retry /var/lib/dormouse/sentry.log
      """, within: deadline)
    return try await forward(socket: "/run/dormouse/dormoused.sock")
  }
}
