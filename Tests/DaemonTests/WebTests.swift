import API
import Client
import Foundation
import Glibc
import ServiceLifecycle
import Testing
import Web

@Suite("Web", .timeLimit(.minutes(1)))
struct WebTests {
  /// Sends bytes to a socket as some user, and gives back what comes until the other side has
  /// closed. Perl, because every Debian has it.
  private func exchange(
    _ request: String, with path: String, as identity: [String] = []
  ) async throws -> Outcome {
    let script = """
      my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "connect: $!\\n";
      local $/; my $request = <STDIN>;
      print $s $request; $s->flush; print <$s>;
      """
    return try await run(
      identity + ["perl", "-MIO::Socket::UNIX", "-e", script, path], input: Data(request.utf8))
  }

  private func get(_ path: String, method: String = "GET", body: String? = nil) -> String {
    let length = body.map { "Content-Length: \($0.utf8.count)\r\n" } ?? ""
    return
      "\(method) \(path) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\(length)\r\n\(body ?? "")"
  }

  private func user(_ uid: Int, gid: Int, groups: String? = nil) -> [String] {
    ["setpriv", "--reuid", "\(uid)", "--regid", "\(gid)"]
      + (groups.map { ["--groups", $0] } ?? ["--clear-groups"])
  }

  /// Status line and error of an answer in raw form.
  private func parse(_ outcome: Outcome) throws -> (status: Int, error: APIError) {
    let parts = outcome.output.components(separatedBy: "\r\n\r\n")
    let status = try #require(
      Int(outcome.output.split(separator: " ").dropFirst().first ?? ""), "\(outcome)")
    let body = try #require(parts.last)
    return (status, try APICoding.decoder().decode(APIError.self, from: Data(body.utf8)))
  }

  @Test("Requests that make no sense get an error that says why")
  func nonsense() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory + "/sock"
      try await withServer(MemoryHost(), socketPath: path) { _ in
        let machines = "/v1/virtual-machines"
        let requests: [(request: String, status: Int, code: APIError.Code, word: String)] = [
          (get("/v1/nothing"), 404, .notFound, "GET /v1/nothing"),
          (get("/"), 404, .notFound, "not part"),
          (get(machines, method: "PUT"), 404, .notFound, "PUT"),
          (get(machines, method: "POST", body: "{"), 400, .invalid, "body"),
          (get(machines, method: "POST", body: "{}"), 400, .invalid, "missing"),
          (get(machines, method: "POST"), 400, .invalid, "body"),
          (
            get(machines, method: "POST", body: #"{"name":"a","memoryBytes":"1G","cpus":1}"#), 400,
            .invalid, "memoryBytes"
          ),
          (
            get(
              machines, method: "POST",
              body: #"{"name":"A","memoryBytes":536870912,"cpus":1,"networks":[]}"#), 400,
            .invalid, "\"A\""
          ),
          (
            get(machines, method: "POST", body: String(repeating: "x", count: 70_000)), 413,
            .invalid, "65536"
          ),
          (get(machines + "/web"), 404, .notFound, "web"),
          (get(machines + "/UPPER"), 400, .invalid, "UPPER"),
          (get(machines + "/a%2fb"), 400, .invalid, "name"),
          (get(machines + "/web", method: "PATCH", body: "{}"), 400, .invalid, "idleAfterSeconds"),
          (
            get(machines + "/web", method: "PATCH", body: #"{"idleAfterSeconds":-1}"#), 400,
            .invalid, "idleAfterSeconds"
          ),
          (get(machines + "/web/stop?force=perhaps", method: "POST"), 400, .invalid, "force"),
          (get("/v1/events?after=x"), 400, .invalid, "after"),
          (get(machines + "/cursed/wake", method: "POST"), 500, .internal, "Unforeseen"),
        ]
        for item in requests {
          let answer = try parse(await exchange(item.request, with: path))
          #expect(answer.status == item.status, "\(item.request.prefix(80))")
          #expect(answer.error.code == item.code, "\(item.request.prefix(80))")
          #expect(answer.error.message.contains(item.word), "\(answer.error.message)")
        }
        let garbage = try await exchange("\0\0\0 this is not HTTP\r\n\r\n", with: path)
        #expect(garbage.output.hasPrefix("HTTP/1.1 400"))
      }
    }
  }

  @Test("Root, and the members of the group, are let in; nobody else is")
  func peers() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory + "/sock"
      try await withServer(MemoryHost(), socketPath: path, group: 54_321) { _ in
        var status = stat()
        #expect(stat(path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o660)
        #expect(status.st_gid == 54_321)
        let request = get("/v1/status")
        let kept = try await exchange(request, with: path, as: user(65534, gid: 65534))
        #expect(kept.complaint.contains("Permission denied"))

        // The socket's mode is the first door; here is the second, with the first one open.
        #expect(chmod(path, 0o666) == 0)
        let stranger = try parse(
          await exchange(request, with: path, as: user(65534, gid: 65534, groups: "54320,54322")))
        #expect(stranger.status == 403)
        #expect(stranger.error.code == .forbidden)
        #expect(stranger.error.message.contains("user 65534"))
        #expect(stranger.error.advice?.contains("54321") == true)
        for member in [
          user(65534, gid: 54_321), user(65534, gid: 65534, groups: "7,54321"),
        ] {
          let outcome = try await exchange(request, with: path, as: member)
          #expect(outcome.output.hasPrefix("HTTP/1.1 200"), "\(outcome)")
        }
        #expect(try await exchange(request, with: path).output.hasPrefix("HTTP/1.1 200"))
      }
    }
  }

  @Test("Without a group only root and the daemon's user are let in, whatever is asked")
  func noGroup() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory + "/sock"
      let host = MemoryHost()
      try await withServer(host, socketPath: path) { _ in
        #expect(chmod(path, 0o666) == 0)
        let body = #"{"name":"a","memoryBytes":536870912,"cpus":1,"networks":[]}"#
        for request in [
          get("/v1/virtual-machines", method: "POST", body: body), get("/v1/nothing"),
          get("/v1/events?follow=true"),
        ] {
          let answer = try parse(await exchange(request, with: path, as: user(65534, gid: 0)))
          #expect(answer.status == 403)
        }
        #expect(try await host.list().isEmpty)
      }
    }
  }

  @Test("A second server refuses a path on which one listens, and harms nothing")
  func twoServers() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory + "/sock"
      try await withServer(MemoryHost(), socketPath: path) { server in
        let second = WebServer(service: MemoryHost(), socketPath: path, logger: .quiet)
        let error = await #expect(throws: WebError.self) { try await second.run() }
        #expect(error?.code == .inUse)
        let status = try await server.client.status()
        #expect(status.pid == 42)
      }
      #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == [])
    }
  }

  @Test("A socket that somebody else listens on, without our lock, is not taken over")
  func foreignListener() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory + "/sock"
      let listener = try Listener(path: path)
      let server = WebServer(service: MemoryHost(), socketPath: path, logger: .quiet)
      let error = await #expect(throws: WebError.self) { try await server.run() }
      #expect(error?.code == .inUse)
      #expect(FileManager.default.fileExists(atPath: path))
      #expect(!FileManager.default.fileExists(atPath: path + ".lock"))
      listener.close()
    }
  }

  @Test("A stale socket, and a stale lock, are replaced")
  func staleSocket() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory + "/sock"
      try Listener(path: path).close()
      try Data().write(to: URL(filePath: path + ".lock"))
      #expect(FileManager.default.fileExists(atPath: path))
      try await withServer(MemoryHost(), socketPath: path) { server in
        let status = try await server.client.status()
        #expect(status.pid == 42)
      }
    }
  }

  @Test("Paths that cannot be a socket's are refused, and what stands there is left alone")
  func wrongPaths() async throws {
    try await withTemporaryDirectory { directory in
      let file = directory + "/file"
      try Data("precious".utf8).write(to: URL(filePath: file))
      for path in [
        file, "relative", directory + "/" + String(repeating: "x", count: 100),
        directory + "/no/such/directory",
      ] {
        let server = WebServer(service: MemoryHost(), socketPath: path, logger: .quiet)
        await #expect(throws: WebError.self) { try await server.run() }
      }
      #expect(try Data(contentsOf: URL(filePath: file)) == Data("precious".utf8))
    }
  }
}

/// A socket that listens and answers nothing, or whatever it is told to.
final class Listener: Sendable {
  private let descriptor: Int32

  init(path: String) throws {
    descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    try #require(bound == 0 && listen(descriptor, 8) == 0)
  }

  /// Takes one connection, reads what comes first, sends an answer, and hangs up.
  func answer(_ text: String) {
    Thread.detachNewThread { [descriptor] in
      let connection = accept(descriptor, nil, nil)
      var buffer = [UInt8](repeating: 0, count: 4096)
      _ = read(connection, &buffer, buffer.count)
      _ = Array(text.utf8).withUnsafeBytes {
        send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      Glibc.close(connection)
    }
  }

  func close() {
    Glibc.close(descriptor)
  }
}
