import API
import Glibc
import LinuxMemory
import LinuxNetwork
import LinuxProcess
import LinuxSystem
import QEMU

/// Looks at a host and says what Dormouse lacks there, and how to mend it.
public struct Doctor: Sendable {
  let configuration: DaemonConfiguration
  let groups: ControlGroupHierarchy?

  typealias Finding = DoctorReport.Finding

  public func examine(sentryIsUp: Bool) async -> DoctorReport {
    var findings: [Finding] = []
    findings += await qemu()
    findings += swap()
    findings.append(controlGroups())
    findings += network()
    findings.append(
      sentryIsUp
        ? Finding(check: "sentry", status: .ok, message: "the sentry is up")
        : Finding(
          check: "sentry", status: .failure,
          message: "there is no sentry, so no virtual machine is put to sleep",
          advice: "see sentry.log in the state directory and the daemon's log"))
    return DoctorReport(findings: findings)
  }

  private func qemu() async -> [Finding] {
    do {
      let found = try await QEMUCapabilities.probe(binary: configuration.qemuBinary)
      var findings = [
        Finding(
          check: "qemu", status: .ok,
          message: "QEMU \(found.version) at \(found.binary), machine type \(found.machineType)")
      ]
      findings.append(
        found.accelerator == .kvm
          ? Finding(check: "accelerator", status: .ok, message: found.acceleratorReason)
          : Finding(
            check: "accelerator", status: .warning,
            message: "guests run in software emulation (tcg), slowly: \(found.acceleratorReason)",
            advice:
              "on hardware, enable virtualization in the firmware and load kvm-intel or kvm-amd"
          ))
      return findings
    } catch {
      return [
        Finding(
          check: "qemu", status: .failure, message: "\(error)",
          advice: "install qemu-system-x86 10.0 or newer (Debian 12 has it in its backports suite)")
      ]
    }
  }

  private func swap() -> [Finding] {
    let status: SwapStatus
    do {
      status = try SwapStatus.current()
    } catch {
      return [Finding(check: "swap", status: .failure, message: "\(error)")]
    }
    guard status.totalBytes > 0 else {
      return [
        Finding(
          check: "swap", status: .failure,
          message: "the host has no swap, so no virtual machine can sleep",
          advice: "make a swap file as large as the memory of the machines that should sleep: "
            + "fallocate -l 8G /swapfile && chmod 600 /swapfile && mkswap /swapfile && "
            + "swapon /swapfile; or use a partition, or zram")
      ]
    }
    var findings = [
      Finding(
        check: "swap", status: .ok,
        message: "\(status.freeBytes >> 20) of \(status.totalBytes >> 20) MiB of swap are free in "
          + status.areas.map { "\($0.path) (\($0.kind))" }.joined(separator: ", "))
    ]
    if status.zswapEnabled {
      findings.append(
        Finding(
          check: "zswap", status: .ok,
          message: "zswap is on: a part of what sleeps stays in memory, compressed; the net gain "
            + "that is shown has it subtracted"))
    }
    for area in status.areas where area.isEncrypted == false {
      findings.append(
        Finding(
          check: "swap encryption", status: .warning,
          message: "\(area.path) is not encrypted: memory of sleeping guests lies on it readable",
          advice: "put swap on dm-crypt with a random key (crypttab(5), option swap)"))
    }
    return findings
  }

  private func controlGroups() -> Finding {
    if let groups {
      Finding(
        check: "control groups", status: .ok,
        message: "memory control groups (\(groups.version)) are usable")
    } else {
      Finding(
        check: "control groups", status: .warning,
        message: "no memory control group can be made: with a swap file or partition, what is "
          + "paged out stays in the swap cache until the host comes under memory pressure",
        advice: "boot the host with cgroup_enable=memory, and run the daemon where it may make "
          + "control groups below /sys/fs/cgroup")
    }
  }

  private func network() -> [Finding] {
    var findings: [Finding] = []
    if access("/dev/net/tun", R_OK | W_OK) != 0 {
      findings.append(
        Finding(
          check: "taps", status: .failure, message: "/dev/net/tun cannot be opened",
          advice: "load the module: modprobe tun"))
    }
    do {
      try DetourTrial.run()
      findings.append(
        Finding(
          check: "detour", status: .ok,
          message: "taps, clsact, u32 and mirred work: traffic can be detoured"))
    } catch {
      findings.append(
        Finding(
          check: "detour", status: .failure,
          message: "traffic cannot be detoured: \(error)",
          advice: "the kernel needs tun, sch_ingress, cls_u32 and act_mirred; the daemon needs "
            + "CAP_NET_ADMIN"))
    }
    return findings
  }
}
