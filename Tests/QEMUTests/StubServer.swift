import Glibc
import NIOCore
import NIOPosix
import QMP
import Testing

/// A directory of a test's own, removed with all that is in it.
struct TemporaryDirectory: ~Copyable {
  let path: String

  init() throws {
    // Not $TMPDIR, which may be long: a socket's path has 107 bytes.
    var template = Array("/tmp/qemu-tests-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw TestFailure("no temporary directory: \(errno)") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    guard let directory = opendir(path) else { return }
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      unlink(path + "/" + name)
    }
    closedir(directory)
    rmdir(path)
  }
}

struct TestFailure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// A server on a real Unix socket that behaves as a test wants.
struct StubServer: ~Copyable {
  let path: String
  private let directory: TemporaryDirectory
  private let channel: any Channel

  /// - Parameters:
  ///   - greet: called with each new connection.
  ///   - answer: called with each line that arrives.
  init(
    greet: @escaping @Sendable (any Channel) -> Void = { _ in },
    answer: @escaping @Sendable ([UInt8], any Channel) -> Void = { _, _ in }
  ) async throws {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/socket"
    let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .childChannelInitializer { child in
        child.eventLoop.makeCompletedFuture {
          try child.pipeline.syncOperations.addHandler(StubHandler(greet: greet, answer: answer))
        }
      }
      .bind(unixDomainSocketPath: path).get()
    self.directory = directory
    self.path = path
    self.channel = channel
  }

  deinit {
    channel.close(promise: nil)
  }

  /// A monitor that greets, negotiates, and hands everything else to `answer` with the command's name and
  /// identifier.
  static func monitor(
    _ answer: @escaping @Sendable (String, Int64, any Channel) -> Void
  ) async throws -> StubServer {
    try await StubServer(greet: { $0.send(greeting) }) { line, channel in
      guard let command = try? JSONValue(parsing: line), let name = command["execute"]?.stringValue,
        let id = command["id"]?.integerValue
      else {
        return channel.send("{\"error\":{\"class\":\"GenericError\",\"desc\":\"no command\"}}")
      }
      if name == "qmp_capabilities" {
        channel.send("{\"return\":{},\"id\":\(id)}")
      } else {
        answer(name, id, channel)
      }
    }
  }

  static let greeting =
    "{\"QMP\":{\"version\":{\"qemu\":{\"micro\":2,\"minor\":0,\"major\":10},\"package\":\"stub\"},"
    + "\"capabilities\":[\"oob\"]}}"
}

extension Channel {
  func send(_ line: String) {
    send(bytes: Array(line.utf8) + Array("\r\n".utf8))
  }

  func send(bytes: [UInt8]) {
    writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
  }
}

private final class StubHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  private let greet: @Sendable (any Channel) -> Void
  private let answer: @Sendable ([UInt8], any Channel) -> Void
  private var framer = QMPLineFramer()

  init(
    greet: @escaping @Sendable (any Channel) -> Void,
    answer: @escaping @Sendable ([UInt8], any Channel) -> Void
  ) {
    self.greet = greet
    self.answer = answer
  }

  func channelActive(context: ChannelHandlerContext) {
    greet(context.channel)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    do throws(QMPWireError) {
      try framer.append(unwrapInboundIn(data).readableBytesView)
    } catch {
      context.close(promise: nil)
      return
    }
    while let line = framer.nextLine() { answer(line, context.channel) }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }
}
