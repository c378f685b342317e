import CLinux

/// Sends bytes with descriptors on a connected Unix socket of the kind SOCK_STREAM (unix(7)). Does not wait.
/// The kernel duplicates the descriptors; the caller keeps its own.
///
/// - Returns: how many bytes were taken; the descriptors go with the first.
/// - Throws: ``LinuxError/Code/exhausted`` when the peer does not read, ``LinuxError/Code/gone`` when it has
///   closed, ``LinuxError/Code/system`` for more than 253 descriptors.
public func sendMessage(
  _ bytes: [UInt8], descriptors: [CInt], on socket: CInt
) throws(LinuxError) -> Int {
  try checked(
    "send a message",
    dormouse_message_send(socket, bytes, bytes.count, descriptors, descriptors.count))
}
