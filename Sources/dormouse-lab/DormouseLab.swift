import ArgumentParser

@main
struct DormouseLab: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dormouse-lab",
    abstract: "Real guests, real swap and real networks, for trying Dormouse out.",
    subcommands: [
      Image.self, Boot.self, Demo.self, BenchSleep.self, BenchDensity.self, BenchSentry.self,
      BenchEmulated.self, Differential.self, Soak.self, SoakSnooping.self,
    ])
}
