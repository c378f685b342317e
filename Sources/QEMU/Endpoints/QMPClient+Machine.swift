import FoundationEssentials
import QMP

/// A virtual CPU (QEMU: qapi/machine.json, CpuInfoFast).
public struct VirtualCPU: Sendable, Hashable {
  public let index: Int
  /// The thread of QEMU's process that runs it.
  public let threadID: Int32
}

/// A kind of machine that a QEMU can be (QEMU: qapi/machine.json, MachineInfo).
public struct MachineType: Sendable, Hashable {
  /// `pc-q35-10.0` for example: the same hardware in every QEMU that has it.
  public let name: String
  /// The name that always means the newest version, `q35`; nil for all but the newest.
  public let alias: String?
  public let maximumCPUs: Int
  public let isDeprecated: Bool
}

extension QMPClient {
  /// `query-cpus-fast`: does not disturb the virtual CPUs.
  public func queryCPUsFast(
    deadline: Duration = .seconds(5)
  ) async throws(QMPError) -> [VirtualCPU] {
    let answer = try await execute("query-cpus-fast", deadline: deadline)
    return try list(answer, of: "query-cpus-fast") { item in
      guard let index = item["cpu-index"]?.integerValue.flatMap({ Int(exactly: $0) }),
        let thread = item["thread-id"]?.integerValue.flatMap({ Int32(exactly: $0) })
      else { return nil }
      return VirtualCPU(index: index, threadID: thread)
    }
  }

  /// `query-machines`.
  public func queryMachines(deadline: Duration = .seconds(5)) async throws(QMPError)
    -> [MachineType]
  {
    let answer = try await execute("query-machines", deadline: deadline)
    return try list(answer, of: "query-machines") { item in
      guard let name = item["name"]?.stringValue,
        let maximum = item["cpu-max"]?.integerValue.flatMap({ Int(exactly: $0) })
      else { return nil }
      return MachineType(
        name: name, alias: item["alias"]?.stringValue, maximumCPUs: maximum,
        isDeprecated: item["deprecated"]?.boolValue ?? false)
    }
  }

  /// `query-kvm`: whether the virtual CPUs run on KVM.
  public func queryKVM(deadline: Duration = .seconds(5)) async throws(QMPError) -> Bool {
    guard let enabled = try await execute("query-kvm", deadline: deadline)["enabled"]?.boolValue
    else { throw .unexpected("query-kvm") }
    return enabled
  }

  /// `ringbuf-read`: takes out the oldest bytes of a ring buffer, the serial console's for example.
  /// What is read is the guest's writing.
  ///
  /// - Parameters:
  ///   - device: the character device, ``MachineCommandLine/console`` for example.
  ///   - size: how many bytes at most.
  public func ringbufRead(
    device: String, size: Int, deadline: Duration = .seconds(5)
  ) async throws(QMPError) -> [UInt8] {
    // As base64: what a guest writes need not be text.
    let answer = try await execute(
      "ringbuf-read",
      ["device": .string(device), "size": .integer(Int64(size)), "format": "base64"],
      deadline: deadline)
    guard let text = answer.stringValue, let bytes = Data(base64Encoded: text) else {
      throw .unexpected("ringbuf-read")
    }
    return Array(bytes)
  }

  private func list<Element>(
    _ answer: JSONValue, of command: String, _ read: (JSONValue) -> Element?
  ) throws(QMPError) -> [Element] {
    guard let items = answer.arrayValue else { throw .unexpected(command) }
    var elements: [Element] = []
    for item in items {
      guard let element = read(item) else { throw .unexpected(command) }
      elements.append(element)
    }
    return elements
  }
}
