import QEMU

extension Machine {
  /// QEMU accepts for the agent, and does so at once unless somebody else has the channel.
  private static let agentConnectTime = Duration.seconds(2)

  /// A connection to the agent in the guest, which has shown that it is there. To be closed: there is one
  /// channel for all who ask.
  ///
  /// - Parameter deadline: for its first answer.
  func guestAgent(within deadline: Duration) async throws -> GuestAgentClient {
    let agent = try await GuestAgentClient.connect(
      path: context.directory.machine(name).agentSocket, deadline: Self.agentConnectTime)
    do {
      try await agent.synchronize(deadline: deadline)
    } catch {
      agent.close()
      throw error
    }
    return agent
  }
}
