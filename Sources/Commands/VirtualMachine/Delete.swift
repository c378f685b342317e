import ArgumentParser
import Client

struct Delete: DaemonCommand {
  static let configuration = CommandConfiguration(
    abstract: "Forget a stopped virtual machine.",
    discussion: "Its image, kernel and other files are left alone.",
    aliases: ["rm"])

  @OptionGroup var machine: NameArgument
  @OptionGroup var connection: ConnectionOptions

  func run(_ client: DormouseClient) async throws {
    try await client.delete(machine.name)
    try Console.print("\(machine.name) is deleted")
  }
}
