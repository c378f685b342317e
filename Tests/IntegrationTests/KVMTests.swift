import API
import FoundationEssentials
import Seamless
import TestBed
import Testing

/// What production runs, and no other test does: guests on KVM, the daemon as systemd's service with the
/// shipped unit, control groups v2, swap on a partition, Debian's own kernel.
@Suite(.serialized, .timeLimit(.minutes(10)), .showsLogsOnFailure, .kvmScene)
struct KVMTests {
  static let patience = KVMScene.patience

  let scene: KVMScene

  init() throws { scene = try KVMScene.current() }

  @Test("The service is up, and the doctor finds KVM, a swap partition and control groups v2")
  func hostIsReady() async throws {
    let report = try await scene.api.doctor()
    #expect(report.ok, "\(report.findings)")
    for (check, word) in [
      ("accelerator", "KVM"), ("swap", "partition"), ("control groups", "v2"),
      ("detour", "mirred"), ("sentry", "up"),
    ] {
      let finding = try #require(report.findings.first { $0.check == check })
      #expect(finding.status == .ok)
      #expect(finding.message.contains(word), "\(finding.message)")
    }
    // With Type=notify it is active only once it has said so itself.
    let unit = try await scene.host.run(
      "systemctl show dormoused -p Type -p ActiveState -p KillMode")
    for line in ["Type=notify", "ActiveState=active", "KillMode=process"] {
      #expect(unit.contains(line + "\n"))
    }
    // The command speaks to the default socket, and its exit status is the doctor's.
    #expect(try await scene.host.run("dormouse doctor").contains("a 64-bit guest runs on KVM"))
  }

  @Test("Asleep on KVM, its memory is the host's and keepalives are answered; a key press wakes it")
  func sleepsSeamlessly() async throws {
    let (client, guest) = (scene.client, scene.guest)
    try await guest.touchMemory(megabytes: 100, from: client)
    let shell = try await SSHSession(
      from: client, to: guest.addresses.ipv4, image: guest.image,
      log: scene.lab.directory + "/ssh-kvm.log", within: Self.patience)
    let echo = try await EchoConnection(from: client, to: guest.addresses.ipv6)
    try await echo.echo(Array("before".utf8), within: Self.patience)

    let groupBefore = try await scene.groupBytes()
    let swapBefore = try await scene.api.status().swapFreeBytes
    let asleep = try await scene.sleep()
    #expect(asleep.accelerator == "kvm")
    let report = try #require(asleep.sleep)
    print(
      "on KVM: released \(report.releasedBytes >> 20) of \(report.touchedBytes >> 20) MiB"
        + " in \(report.durationSeconds) s")
    #expect(report.touchedBytes >= 100 << 20)
    #expect(Double(report.releasedBytes) >= 0.97 * Double(report.touchedBytes))
    #expect(report.residentBytes <= report.touchedBytes * 3 / 100)
    // What the kernel says of the group and of the partition.
    let groupAfter = try await scene.groupBytes()
    #expect(groupBefore >= groupAfter + report.releasedBytes * 9 / 10)
    let swapAfter = try await scene.api.status().swapFreeBytes
    #expect(swapBefore >= swapAfter + report.swapBytes * 9 / 10)

    try await keepalivesAreAnswered(connections: 2)
    let still = try await scene.machine()
    #expect(still.state == .asleep)
    #expect(still.wakes == asleep.wakes)

    let (output, delay) = try await shell.run("echo $((40 + 2))", within: Self.patience)
    #expect(output == "42")
    print("on KVM: woken by a key press: \(delay)")
    let wake = try await finished(wake: asleep.wakes + 1)
    #expect(wake.reason == WakeReason.payload.rawValue)
    try await clockIsRight()
    try await echo.echo(Array("after".utf8), within: Self.patience)
    #expect(try await shell.isOpen())
    try await shell.close()

    // KVM reaches guest memory through QEMU's page tables. So what was used after the wake is known.
    try await Task.sleep(for: .seconds(2))
    let again = try await scene.sleep()
    try await echo.echo(Array("once more".utf8), within: Self.patience)
    _ = try await finished(wake: again.wakes + 1)
    // The report may be there before all is read that it tells of.
    let prefetched = try await eventually("memory to be read ahead", within: Self.patience) {
      let bytes = try await scene.machine().lastWake?.prefetchedBytes ?? 0
      return bytes > 0 ? bytes : nil
    }
    print("on KVM: read ahead \(prefetched >> 10) KiB")
    #expect(try await echo.isOpen())
  }

  @Test("The guest's clock is kvm-clock, and its TSC is not invariant")
  func clockSources() async throws {
    let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    #expect(try await onGuest("cat \(source)") == "kvm-clock")
    // A TSC that promises to go on at one rate would be the guest's clock, and it goes on while it sleeps.
    let flags = try await onGuest("grep -m 1 ^flags /proc/cpuinfo").split(separator: " ")
    #expect(flags.contains("tsc"))
    #expect(!flags.contains("nonstop_tsc") && !flags.contains("constant_tsc"))
    let pid = try #require(try await scene.machine().pid)
    let arguments = try await scene.host.run("tr '\\0' ' ' </proc/\(pid)/cmdline")
    #expect(arguments.contains("-accel kvm,"))
    #expect(arguments.contains("-cpu host,invtsc=off,enforce=on"))
  }

  @Test("A restart of the service touches neither QEMU nor sentry, and the VM sleeps on")
  func survivesRestart() async throws {
    try await sleepsThrough { try await scene.host.run("systemctl restart dormoused") }
  }

  @Test("After kill -9 systemd starts the daemon again, and the VM sleeps on")
  func survivesKill() async throws {
    try await sleepsThrough { [scene] in
      try await scene.host.run("systemctl kill --kill-whom=main --signal=KILL dormoused")
    }
  }

  @Test("A daemon that hangs is ended by systemd's watchdog; the VM is reachable throughout")
  func watchdog() async throws {
    let dropIn = "/run/systemd/system/dormoused.service.d/watchdog.conf"
    try await scene.host.run(
      """
      mkdir -p $(dirname \(dropIn)) && printf '[Service]\\nWatchdogSec=8s\\n' >\(dropIn) &&
      systemctl daemon-reload && systemctl restart dormoused
      """)
    let echo = try await EchoConnection(from: scene.client, to: scene.guest.addresses.ipv4)
    try await echo.echo(Array("before".utf8), within: Self.patience)
    let asleep = try await scene.sleep()
    let (hung, guarding) = try await processes()
    try await scene.host.run("systemctl kill --kill-whom=main --signal=STOP dormoused")
    // Nobody but the sentry is there to wake it.
    try await echo.echo(Array("while it hangs".utf8), within: Self.patience)
    let sentry = try await nextDaemon(after: hung).sentry.pid
    let machine = try await waitForState(scene.api, scene.name, .awake, within: Self.patience)
    #expect(machine.pid == asleep.pid)
    #expect(sentry == guarding)
    try await echo.echo(Array("after".utf8), within: Self.patience)
    let journal = try await scene.host.run("journalctl --unit=dormoused --output=cat")
    #expect(journal.contains("Watchdog timeout"))
    try await scene.host.run(
      "rm \(dropIn) && systemctl daemon-reload && systemctl restart dormoused")
  }

  @Test("Swap on dm-crypt: nothing is called readable, and all comes back")
  func encryptedSwap() async throws {
    try await scene.host.run(
      """
      set -e
      swapoff /dev/vdc
      # As cryptsetup does for crypttab's option swap; with the cipher for processors that have no instructions
      # for AES, whose emulation takes milliseconds for a page.
      key=$(od -An -v -N32 -tx1 /dev/urandom | tr -d ' \\n')
      dmsetup create swap --uuid CRYPT-PLAIN-swap --table "0 $(blockdev --getsz /dev/vdc) crypt xchacha12,aes-adiantum-plain64 $key 0 /dev/vdc 0"
      mkswap -q /dev/mapper/swap && swapon /dev/mapper/swap
      """, within: Self.patience)
    let findings = try await scene.api.doctor().findings
    #expect(!findings.contains { $0.check == "swap encryption" })
    #expect(findings.contains { $0.check == "swap" && $0.message.contains("dm-") }, "\(findings)")

    // A new connection would not wait until so slow a processor has deciphered what sshd needs.
    let shell = try await SSHSession(
      from: scene.client, to: scene.guest.addresses.ipv4, image: scene.guest.image,
      log: scene.lab.directory + "/ssh-crypt.log", within: Self.patience)
    let content = try await shell.run(
      "dd if=/dev/urandom of=/dev/shm/content bs=1M count=16 status=none; md5sum </dev/shm/content",
      within: Self.patience
    ).output
    let asleep = try await scene.sleep()
    let report = try #require(asleep.sleep)
    #expect(Double(report.releasedBytes) >= 0.97 * Double(report.touchedBytes))
    let (again, delay) = try await shell.run("md5sum </dev/shm/content", within: Self.patience * 2)
    #expect(again == content)
    print("on KVM: content from encrypted swap after \(delay)")
    _ = try await finished(wake: asleep.wakes + 1)
    try await shell.close()

    try await scene.host.run(
      """
      set -e
      swapoff /dev/mapper/swap && dmsetup remove swap
      mkswap -q /dev/vdc && swapon /dev/vdc
      """, within: Self.patience)
  }

  // MARK: -

  /// Ends the sleeping VM's daemon in some way, and sees that nobody notices.
  private func sleepsThrough(_ end: () async throws -> Void) async throws {
    let echo = try await EchoConnection(from: scene.client, to: scene.guest.addresses.ipv4)
    try await echo.echo(Array("before".utf8), within: Self.patience)
    let asleep = try await scene.sleep()
    let (daemon, sentry) = try await processes()
    let clock = ContinuousClock()
    let start = clock.now
    try await end()
    let next = try await nextDaemon(after: daemon)
    let absence = clock.now - start
    print("on KVM: no daemon for at most \(absence)")
    #expect(next.sentry.pid == sentry)
    let found = try await scene.machine()
    #expect(found.pid == asleep.pid)
    guard absence < .seconds(9) || found.state == .asleep else {
      // On a machine so busy the sentry was right to wake it: nobody came back within ten seconds.
      try await echo.echo(Array("after".utf8), within: Self.patience)
      return
    }
    #expect(found.state == .asleep)
    try await keepalivesAreAnswered(connections: 1)
    try await echo.echo(Array("after".utf8), within: Self.patience)
    #expect(try await finished(wake: found.wakes + 1).reason == WakeReason.payload.rawValue)
    try await clockIsRight()
  }

  private func processes() async throws -> (daemon: Int32, sentry: Int32?) {
    let status = try await scene.api.status()
    return (status.pid, status.sentry.pid)
  }

  /// Waits for the daemon that takes another's place, until it has found the sentry.
  private func nextDaemon(after pid: Int32) async throws -> HostStatus {
    try await eventually("the next daemon", within: .seconds(60), every: .milliseconds(500)) {
      // In between there is nobody to ask.
      guard let status = try? await scene.api.status() else { return nil }
      return status.pid == pid || status.sentry.state != .running ? nil : status
    }
  }

  private func keepalivesAreAnswered(connections: Int) async throws {
    let start = ContinuousClock.now
    try await Task.sleep(for: .seconds(5))
    let count = scene.keepalives.count(since: start)
    print("on KVM: keepalives asleep: \(count.sent), answered \(count.answered)")
    #expect(count.sent >= 3 * connections)
    #expect(count.answered >= count.sent - count.open)
  }

  /// Waits until a wake is over, which is reported a moment after the guest runs.
  private func finished(wake number: Int) async throws -> WakeReport {
    try await eventually("the report of the wake", within: Self.patience) {
      let machine = try await scene.machine()
      return machine.state == .awake && machine.wakes == number ? machine.lastWake : nil
    }
  }

  /// The guest slept, and yet its clock is its host's, once its agent had the time to set it.
  private func clockIsRight() async throws {
    try await eventually("the guest's clock to be set", within: Self.patience * 2) {
      let wake = try await scene.machine().lastWake
      return wake?.clockStepped == true ? () : nil
    }
    let before = try #require(Int(try await scene.host.run("date +%s").firstLine))
    let guest = try #require(Int(try await onGuest("date +%s")))
    let after = try #require(Int(try await scene.host.run("date +%s").firstLine))
    #expect(guest >= before - 1)
    #expect(guest <= after + 1)
  }

  @discardableResult
  private func onGuest(_ command: String) async throws -> String {
    try await scene.guest.run(command, from: scene.client, within: Self.patience).firstLine
  }
}
