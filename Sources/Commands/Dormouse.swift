import API
public import ArgumentParser

/// The `dormouse` command.
public struct Dormouse: AsyncParsableCommand {
  /// Names, texts and subcommands.
  public static let configuration = CommandConfiguration(
    commandName: "dormouse",
    abstract: "Virtual machines that sleep while nobody uses them.",
    discussion: """
      Talks to dormoused, which does the work.

      Exit status: 0 done; 1 failed; 2 refused, because it would not be safe now (the virtual \
      machine runs on); 64 wrong usage; 69 the daemon is not running or does not answer; 77 not \
      allowed.

      Completion for your shell: dormouse --generate-completion-script bash (or zsh, or fish)
      """,
    version: DormouseVersion.current,
    groupedSubcommands: [
      CommandGroup(
        name: "Virtual machines",
        subcommands: [
          Create.self, Start.self, Stop.self, Delete.self, List.self, Show.self, Sleep.self,
          Wake.self, Set.self, Rules.self, Save.self,
        ]),
      CommandGroup(name: "Host", subcommands: [Events.self, Status.self, Doctor.self]),
    ])

  /// A command that prints its help unless a subcommand is named.
  public init() {}
}
