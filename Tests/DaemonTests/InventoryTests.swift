import API
import Foundation
import GRDB
import Glibc
import Inventory
import Testing

@Suite("Inventory", .timeLimit(.minutes(1)))
struct InventoryTests {
  private func record(
    _ name: String, bridge: String? = nil, macAddress: String? = nil
  ) -> VirtualMachineRecord {
    VirtualMachineRecord(
      name: name, uid: "uid-\(name)", requestJSON: Data("{}".utf8), bridge: bridge,
      macAddress: macAddress,
      createdAt: Date(timeIntervalSince1970: 1_767_225_600))
  }

  @Test("Records are kept, changed and forgotten")
  func records() async throws {
    try await withTemporaryDirectory { directory in
      let inventory = try await Inventory.open(path: directory + "/inventory.sqlite")
      let web = record("web", macAddress: "52:54:00:00:00:01")
      try await inventory.write { transaction in
        try transaction.insert(web)
        try transaction.insert(record("db"))
      }
      let changed = try await inventory.write { transaction in
        try transaction.update("web") {
          $0.processID = 4711
          $0.processStartTime = 1 << 40
          $0.desiredState = .running
          $0.descriptionJSON = Data(#"{"machine":"q35"}"#.utf8)
          $0.idleAfterSeconds = 60
          $0.swapIn = .background
        }
      }
      let again = try await Inventory.open(path: directory + "/inventory.sqlite")
      let found = try await again.read { try $0.record("web") }
      #expect(found == changed)
      #expect(found?.processStartTime == 1 << 40)
      #expect(try await again.read { try $0.records().map(\.name) } == ["db", "web"])
      try await again.write { try $0.delete("web") }
      #expect(try await inventory.read { try $0.record("web") } == nil)
    }
  }

  @Test("What excludes each other is refused, and the whole transaction with it")
  func constraints() async throws {
    try await withTemporaryDirectory { directory in
      let inventory = try await Inventory.open(path: directory + "/inventory.sqlite")
      let mac = "52:54:00:00:00:01"
      try await inventory.write { try $0.insert(record("web", macAddress: mac)) }
      let sameName = await code { try await inventory.write { try $0.insert(record("web")) } }
      #expect(sameName == .constraint)
      let sameMAC = await code {
        try await inventory.write { transaction in
          try transaction.insert(record("other"))
          try transaction.insert(record("third", macAddress: mac))
        }
      }
      #expect(sameMAC == .constraint)
      // An address is one machine's on its bridge, and may be another's on another bridge.
      let onBridge = await code {
        try await inventory.write { transaction in
          try transaction.insert(record("fourth", bridge: "br0", macAddress: mac))
          try transaction.insert(record("fifth", bridge: "br1", macAddress: mac))
          try transaction.insert(record("sixth", bridge: "br1", macAddress: mac))
        }
      }
      #expect(onBridge == .constraint)
      try await inventory.write { transaction in
        for bridge in ["br0", "br1"] {
          try transaction.insert(record("on-" + bridge, bridge: bridge, macAddress: mac))
        }
        for bridge in ["br0", "br1"] { try transaction.delete("on-" + bridge) }
      }
      #expect(try await inventory.read { try $0.records().map(\.name) } == ["web"])
      let unknown = await code { try await inventory.write { try $0.update("no") { _ in } } }
      #expect(unknown == .notFound)
      let renamed = await code {
        try await inventory.write { try $0.update("web") { $0.name = "w" } }
      }
      #expect(renamed == .constraint)
      let readingWrites = await code { try await inventory.read { try $0.delete("web") } }
      #expect(readingWrites == .readOnly)
    }
  }

  @Test("The journal knows the step, what it replaced, and what went before")
  func journal() async throws {
    try await withTemporaryDirectory { directory in
      let inventory = try await Inventory.open(path: directory + "/inventory.sqlite")
      try await inventory.write { try $0.insert(record("web")) }
      let unbegun = await code { try await inventory.write { try $0.advance("web", to: "stop") } }
      #expect(unbegun == .notFound)
      let nobody = await code {
        try await inventory.write { try $0.begin(.sleep, of: "nobody", step: "preflight") }
      }
      #expect(nobody == .notFound)

      try await inventory.write { try $0.begin(.sleep, of: "web", step: "preflight") }
      try await inventory.write {
        try $0.advance("web", to: "pause", payload: Data("cursor".utf8))
      }
      let step = try await inventory.read { try $0.currentStep("web") }
      #expect(step?.transition == .sleep)
      #expect(step?.step == "pause")
      #expect(step?.payload == Data("cursor".utf8))

      let superseded = try await inventory.write {
        try $0.begin(.wake, of: "web", step: "continue")
      }
      #expect(superseded?.step == "pause")
      #expect(try await inventory.read { try $0.currentSteps().map(\.step) } == ["continue"])
      try await inventory.write { try $0.finish("web") }
      try await inventory.write { try $0.finish("web") }
      #expect(try await inventory.read { try $0.currentStep("web") } == nil)
      #expect(
        try await inventory.read {
          try $0.history("web").map { "\($0.transition.rawValue) \($0.step)" }
        }
          == ["wake done", "wake continue", "sleep pause", "sleep preflight"])

      try await inventory.write { try $0.begin(.sleep, of: "web", step: "preflight") }
      try await inventory.write { try $0.delete("web") }
      #expect(try await inventory.read { try $0.currentSteps() } == [])
      #expect(try await inventory.read { try $0.history(limit: 1).map(\.step) } == ["preflight"])
    }
  }

  @Test("History and events are bounded, and numbers are never used twice")
  func bounds() async throws {
    try await withTemporaryDirectory { directory in
      let inventory = try await Inventory.open(path: directory + "/inventory.sqlite")
      try await inventory.write { transaction in
        try transaction.insert(record("web"))
        try transaction.begin(.sleep, of: "web", step: "0")
        for step in 1...1500 { try transaction.advance("web", to: "\(step)") }
        for number in 1...10_500 { try transaction.appendEvent(.warning, message: "\(number)") }
      }
      let history = try await inventory.read { try $0.history() }
      #expect(history.count == Inventory.historyLimit)
      #expect(history.first?.step == "1500")
      let events = try await inventory.read { try $0.events() }
      #expect(events.count == Inventory.eventLimit)
      #expect(events.last?.message == "10500")
      #expect(try await inventory.read { try $0.lastEventSequence() } == 10_500)
      #expect(
        try await inventory.read { try $0.events(after: 10_498).map(\.sequence) }
          == [10_499, 10_500])
      #expect(try await inventory.read { try $0.events(after: 10_500) } == [])
    }
  }

  @Test("An event comes back as it was")
  func event() async throws {
    try await withTemporaryDirectory { directory in
      let inventory = try await Inventory.open(path: directory + "/inventory.sqlite")
      #expect(try await inventory.read { try $0.lastEventSequence() } == 0)
      let written = try await inventory.write {
        try $0.appendEvent(
          .asleep, virtualMachine: "web", message: "300 MiB \"released\"",
          details: ["releasedBytes": "314572800"], at: Date(timeIntervalSince1970: 1_767_225_600.25)
        )
      }
      #expect(try await inventory.read { try $0.events() } == [written])
      #expect(written.sequence == 1)
    }
  }

  @Test("Many writers at once: nothing is lost, nothing doubled")
  func concurrency() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory + "/inventory.sqlite"
      let inventories = [
        try await Inventory.open(path: path), try await Inventory.open(path: path),
      ]
      try await withThrowingTaskGroup(of: Void.self) { group in
        for writer in 0..<40 {
          group.addTask {
            try await inventories[writer % 2].write { transaction in
              for number in 0..<10 {
                try transaction.appendEvent(.warning, message: "\(writer)/\(number)")
              }
            }
          }
        }
        try await group.waitForAll()
      }
      let events = try await inventories[0].read { try $0.events() }
      #expect(Set(events.map(\.message)).count == 400)
      #expect(events.map(\.sequence) == Array(1...400))
    }
  }

  @Test("Cancelling the caller does not lose a write")
  func cancellation() async throws {
    try await withTemporaryDirectory { directory in
      let inventory = try await Inventory.open(path: directory + "/inventory.sqlite")
      let task = Task {
        while !Task.isCancelled { await Task.yield() }
        try await inventory.write { try $0.appendEvent(.warning, message: "undone") }
      }
      task.cancel()
      try await task.value
      #expect(try await inventory.read { try $0.events().map(\.message) } == ["undone"])
    }
  }

  @Test("What was written is there after a crash, a torn end of the log included")
  func crash() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory + "/inventory.sqlite"
      let inventory = try await Inventory.open(path: path)
      try await inventory.write { try $0.insert(record("web")) }
      try await inventory.write { try $0.begin(.sleep, of: "web", step: "pause") }
      // As a crash leaves it: files as they are, nobody closed anything.
      let crashed = directory + "/crashed.sqlite"
      try FileManager.default.copyItem(atPath: path, toPath: crashed)
      try FileManager.default.copyItem(atPath: path + "-wal", toPath: crashed + "-wal")
      let log = try FileHandle(forWritingTo: URL(filePath: crashed + "-wal"))
      try log.seekToEnd()
      try log.write(contentsOf: Data(repeating: 0xA5, count: 3000))
      try log.close()
      let reopened = try await Inventory.open(path: crashed)
      #expect(try await reopened.read { try $0.currentStep("web")?.step } == "pause")
      try await reopened.write { try $0.advance("web", to: "continue") }
    }
  }

  @Test("A full disk is said to be full, spoils nothing, and is forgotten once there is room")
  func diskFull() async throws {
    try await withTemporaryDirectory { directory in
      let mountPoint = directory + "/disk"
      try FileManager.default.createDirectory(atPath: mountPoint, withIntermediateDirectories: true)
      try #require(
        mount("tmpfs", mountPoint, "tmpfs", 0, "size=512k") == 0,
        "this test mounts a small tmpfs and needs CAP_SYS_ADMIN")
      defer { umount2(mountPoint, Int32(MNT_DETACH)) }
      let inventory = try await Inventory.open(path: mountPoint + "/inventory.sqlite")
      try await inventory.write { try $0.insert(record("web")) }
      try await inventory.write { try $0.begin(.sleep, of: "web", step: "preflight") }
      let ballast = mountPoint + "/ballast"
      try fill(ballast)

      var failure: InventoryError?
      for number in 0..<200 where failure == nil {
        do throws(InventoryError) {
          try await inventory.write {
            try $0.advance("web", to: "step \(number)", payload: Data(count: 4096))
          }
        } catch {
          failure = error
        }
      }
      #expect(failure?.code == .diskFull)
      #expect(failure?.description.contains("no space") == true)
      let before = try await inventory.read { try $0.currentStep("web") }
      let again = await code {
        try await inventory.write { try $0.advance("web", to: "lost", payload: Data(count: 65536)) }
      }
      #expect(again == .diskFull)
      #expect(try await inventory.read { try $0.currentStep("web") } == before)

      try FileManager.default.removeItem(atPath: ballast)
      try await inventory.write { try $0.advance("web", to: "continue") }
      let reopened = try await Inventory.open(path: mountPoint + "/inventory.sqlite")
      #expect(try await reopened.read { try $0.currentStep("web")?.step } == "continue")
    }
  }

  @Test("A disk that is full from the start is said to be full")
  func diskFullAtOpening() async throws {
    try await withTemporaryDirectory { directory in
      let mountPoint = directory + "/disk"
      try FileManager.default.createDirectory(atPath: mountPoint, withIntermediateDirectories: true)
      try #require(
        mount("tmpfs", mountPoint, "tmpfs", 0, "size=64k") == 0,
        "this test mounts a small tmpfs and needs CAP_SYS_ADMIN")
      defer { umount2(mountPoint, Int32(MNT_DETACH)) }
      try fill(mountPoint + "/ballast")
      let opened = await code {
        _ = try await Inventory.open(path: mountPoint + "/inventory.sqlite")
      }
      #expect(opened == .diskFull)
    }
  }

  @Test("Files that are no inventory are told apart, and left alone")
  func foreignFiles() async throws {
    try await withTemporaryDirectory { directory in
      let text = directory + "/text"
      try Data(repeating: 0x2E, count: 8192).write(to: URL(filePath: text))
      #expect(await code { _ = try await Inventory.open(path: text) } == .corrupt)
      #expect(try Data(contentsOf: URL(filePath: text)) == Data(repeating: 0x2E, count: 8192))

      let nowhere = directory + "/nowhere/inventory.sqlite"
      #expect(await code { _ = try await Inventory.open(path: nowhere) } == .cannotOpen)

      let newer = directory + "/newer.sqlite"
      _ = try await Inventory.open(path: newer)
      try await DatabaseQueue(path: newer).write {
        try $0.execute(sql: "INSERT INTO grdb_migrations VALUES ('99 from the future')")
      }
      #expect(await code { _ = try await Inventory.open(path: newer) } == .newerVersion)
    }
  }

  @Test("Of many writes at a time each succeeds or fails for itself")
  func crowd() async throws {
    struct Refused: Error {}
    try await withTemporaryDirectory { directory in
      let inventory = try await Inventory.open(path: directory + "/inventory.sqlite")
      try await inventory.write { try $0.insert(record("taken")) }
      let done = await withTaskGroup(of: String?.self) { group in
        for number in 0..<300 {
          group.addTask {
            let name = "m\(number)"
            let new = record(name)
            do {
              return try await inventory.write { transaction in
                try transaction.insert(new)
                if number % 3 == 1 { throw Refused() }
                if number % 3 == 2 { try transaction.insert(record("taken")) }
                return name
              }
            } catch {
              return nil
            }
          }
        }
        return await group.reduce(into: Set<String>()) { names, name in
          if let name { names.insert(name) }
        }
      }
      #expect(done == Set(stride(from: 0, to: 300, by: 3).map { "m\($0)" }))
      let names = try await inventory.read { try $0.records().map(\.name) }
      #expect(Set(names) == done.union(["taken"]))
    }
  }

  @Test("Of many writes to a full disk, what has returned is there, and what has thrown is not")
  func crowdOnAFullDisk() async throws {
    try await withTemporaryDirectory { directory in
      let mountPoint = directory + "/small"
      try FileManager.default.createDirectory(
        atPath: mountPoint, withIntermediateDirectories: false)
      try #require(mount("tmpfs", mountPoint, "tmpfs", 0, "size=512k") == 0, "needs CAP_SYS_ADMIN")
      defer { umount2(mountPoint, Int32(MNT_DETACH)) }
      let path = mountPoint + "/inventory.sqlite"
      let inventory = try await Inventory.open(path: path)
      let (done, failed) = await withTaskGroup(of: (String, Bool).self) { group in
        for number in 0..<200 {
          var new = record("m\(number)")
          new.requestJSON = Data(repeating: UInt8(ascii: "x"), count: 8192)
          group.addTask { [new] in
            do {
              try await inventory.write { try $0.insert(new) }
              return (new.name, true)
            } catch {
              return (new.name, (error as? InventoryError)?.code != .diskFull)
            }
          }
        }
        return await group.reduce(into: (Set<String>(), Set<String>())) { sets, result in
          if result.1 { sets.0.insert(result.0) } else { sets.1.insert(result.0) }
        }
      }
      #expect(!done.isEmpty && !failed.isEmpty)
      let names = try await inventory.read { try $0.records().map(\.name) }
      #expect(Set(names) == done)
    }
  }

  @Test("An inventory of the first release is brought up to date, with machines and journal")
  func upgrade() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory + "/inventory.sqlite"
      let old = try await Inventory.open(path: path)
      let web = record("web", bridge: "br0", macAddress: "52:54:00:00:00:01")
      try await old.write { transaction in
        try transaction.insert(web)
        try transaction.begin(.sleep, of: "web", step: "asleep")
      }
      // What the first release had: an address was unique on its host, and there were no rules.
      try await DatabaseQueue(path: path).write { database in
        try database.execute(
          sql: """
            DROP INDEX virtualMachineAddress;
            CREATE UNIQUE INDEX firstRelease ON virtualMachine (macAddress);
            DROP TABLE setting;
            ALTER TABLE virtualMachine DROP COLUMN rulesJSON;
            ALTER TABLE virtualMachine DROP COLUMN swapIn;
            DELETE FROM grdb_migrations WHERE identifier NOT LIKE '1 %';
            """)
      }
      let new = try await Inventory.open(path: path)
      #expect(try await new.read { try $0.record("web") } == web)
      #expect(try await new.read { try $0.currentStep("web")?.step } == "asleep")
      let twin = record("twin", bridge: "br1", macAddress: "52:54:00:00:00:01")
      try await new.write { try $0.insert(twin) }
      let rules = Data("[]".utf8)
      try await new.write { transaction in
        _ = try transaction.update("twin") { $0.rulesJSON = rules }
        try transaction.setSetting("rules", Data())
        try transaction.setSetting("rules", rules)
      }
      #expect(try await new.read { try $0.record("twin")?.rulesJSON } == rules)
      #expect(try await new.read { try $0.setting("rules") } == rules)
      #expect(try await new.read { try $0.setting("nothing") } == nil)
      try await new.write { try $0.delete("web") }
      #expect(try await new.read { try $0.currentSteps() }.isEmpty)
    }
  }

  @Test("A damaged page is found when the inventory is opened")
  func damage() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory + "/inventory.sqlite"
      do {
        let inventory = try await Inventory.open(path: path)
        try await inventory.write { transaction in
          for number in 0..<500 {
            try transaction.appendEvent(.warning, message: "number \(number) of many")
          }
        }
      }
      // Closing has moved the log into the file.
      try await eventually {
        !FileManager.default.fileExists(atPath: path + "-shm") || fileSize(path) > 40960
      }
      try await DatabaseQueue(path: path).writeWithoutTransaction {
        _ = try $0.checkpoint(.truncate)
      }
      let file = try FileHandle(forUpdating: URL(filePath: path))
      try file.seek(toOffset: UInt64(fileSize(path) - 4096 * 3))
      try file.write(contentsOf: Data(repeating: 0xFF, count: 4096))
      try file.close()
      #expect(await code { _ = try await Inventory.open(path: path) } == .corrupt)
    }
  }

  // MARK: Helpers

  private func code<Value>(_ body: () async throws -> Value) async -> InventoryError.Code? {
    do {
      _ = try await body()
      return nil
    } catch {
      return (error as? InventoryError)?.code
    }
  }

  private func fileSize(_ path: String) -> Int {
    var status = stat()
    return stat(path, &status) == 0 ? Int(status.st_size) : 0
  }

  /// Writes a file until the disk has no room left.
  private func fill(_ path: String) throws {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    try #require(descriptor >= 0)
    defer { close(descriptor) }
    let zeros = [UInt8](repeating: 0, count: 4096)
    while write(descriptor, zeros, zeros.count) > 0 {}
    #expect(errno == ENOSPC)
  }
}
