// swift-tools-version:6.2
import PackageDescription

/// Whether this is the build of scripts/fuzz.sh: all targets watched by libFuzzer and the address
/// sanitizer, and one program more.
let isFuzzing = Context.environment["DORMOUSE_FUZZ"] != nil

/// Every target of this package is held to the same strictness; a warning is an error.
let strict: [SwiftSetting] =
  [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .treatAllWarnings(as: .error),
  ] + (isFuzzing ? [.unsafeFlags(["-sanitize=fuzzer,address"])] : [])

func library(_ name: String, _ dependencies: [Target.Dependency], path: String? = nil) -> Target {
  .target(name: name, dependencies: dependencies, path: path, swiftSettings: strict)
}

func executable(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .executableTarget(name: name, dependencies: dependencies, swiftSettings: strict)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .testTarget(name: name, dependencies: dependencies, swiftSettings: strict)
}

let argumentParser = Target.Dependency.product(
  name: "ArgumentParser", package: "swift-argument-parser")
let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")
let log = Target.Dependency.product(name: "Logging", package: "swift-log")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let subprocess = Target.Dependency.product(name: "Subprocess", package: "swift-subprocess")
let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let grdb = Target.Dependency.product(name: "GRDB", package: "GRDB.swift")
let lifecycle = Target.Dependency.product(
  name: "ServiceLifecycle", package: "swift-service-lifecycle")
let signals = Target.Dependency.product(
  name: "UnixSignals", package: "swift-service-lifecycle")

let package = Package(
  name: "dormouse",
  products: [
    .executable(name: "dormouse", targets: ["dormouse"]),
    .executable(name: "dormoused", targets: ["dormoused"]),
    .executable(name: "dormouse-sentry", targets: ["dormouse-sentry"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
    .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.0"),
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.0"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
  ],
  targets: [
    // Kernel interfaces. Nothing here knows QEMU or Dormouse.
    .target(name: "CLinux"),
    library("LinuxSystem", ["CLinux", system]),
    library("LinuxProcess", ["LinuxSystem"]),
    library("LinuxMemory", ["LinuxSystem"]),
    library("LinuxNetwork", ["LinuxSystem"]),

    // The virtual machine monitor. Nothing here knows Dormouse.
    library("QMP", []),
    library("QEMU", ["QMP", "LinuxSystem", "LinuxProcess", nioCore, nioPosix, log]),

    // Sleeping.
    library("Frames", []),
    library("Failpoints", []),
    library("Seamless", ["Frames", "LinuxSystem", "LinuxNetwork"]),
    library(
      "SentryProcess", ["Seamless", "Frames", "Failpoints", "QMP", "LinuxSystem", "LinuxNetwork"]),
    library("SuspendToSwap", ["LinuxMemory", "LinuxProcess", "QEMU"]),

    // Putting it together.
    library("API", []),
    library("Templates", ["API", "QEMU", "LinuxSystem"]),
    library("Inventory", ["API", grdb]),
    library(
      "Daemon",
      [
        "API", "Inventory", "Failpoints", "Frames", "QEMU", "QMP", "Seamless", "SuspendToSwap",
        "Templates", "LinuxSystem", "LinuxMemory", "LinuxNetwork", "LinuxProcess", log, lifecycle,
      ]),
    library("Web", ["API", "LinuxSystem", hummingbird, log, lifecycle]),
    library("Client", ["API", nioCore, nioPosix, nioHTTP1]),
    library("Commands", ["API", "Client", argumentParser]),

    executable("dormouse", ["Commands"]),
    executable(
      "dormoused", ["API", "Daemon", "Failpoints", "Web", argumentParser, lifecycle, log, signals]),
    executable("dormouse-sentry", ["SentryProcess"]),

    // The lab: real guests, real swap, real namespaces; shared by tests, demo and benchmarks.
    .target(
      name: "TestBed",
      dependencies: [
        "API", "Client", "LinuxSystem", "LinuxProcess", "LinuxMemory", "LinuxNetwork", "QEMU",
        "Frames", "Seamless", subprocess, system,
      ],
      // Compiled where it is used: only the lab has lwIP.
      resources: [.embedInCode("Stacks/lwip-client.c")], swiftSettings: strict),
    executable("dormouse-lab", ["TestBed", "API", "Client", "QEMU", argumentParser]),

    tests("LinuxTests", ["LinuxSystem", "LinuxProcess", "LinuxMemory", "LinuxNetwork"]),
    tests("QEMUTests", ["QMP", "QEMU", "LinuxSystem", "LinuxProcess", nioCore, nioPosix]),
    tests("SeamlessTests", ["Frames", "Seamless", "SentryProcess", "LinuxSystem"]),
    tests("SuspendToSwapTests", ["SuspendToSwap", "LinuxMemory", "LinuxProcess"]),
    tests(
      "DaemonTests",
      [
        "Daemon", "Inventory", "Templates", "API", "Client", "QEMU", "Web", "Commands", "dormouse",
        grdb, log, lifecycle,
      ]),
    tests(
      "IntegrationTests",
      [
        "FuzzTargets", "TestBed", "API", "Client", "Daemon", "Inventory", "LinuxNetwork",
        "LinuxSystem",
        "QEMU", "Seamless", "SuspendToSwap",
      ]),

    // What strangers send, in every form; see docs/testing.md.
    library(
      "FuzzTargets",
      [
        "API", "Commands", "Frames", "LinuxMemory", "LinuxNetwork", "LinuxProcess", "LinuxSystem",
        "QEMU", "QMP", "Seamless", "SuspendToSwap", "Templates",
      ], path: "Tests/Fuzzing/Targets"),
    tests("FuzzTests", ["FuzzTargets", "LinuxSystem"]),
  ]
    + (isFuzzing
      ? [
        .target(name: "CFuzzer", path: "Tests/Fuzzing/CFuzzer"),
        .executableTarget(
          name: "dormouse-fuzz", dependencies: ["CFuzzer", "FuzzTargets"],
          path: "Tests/Fuzzing/Program", swiftSettings: strict,
          // The linker that is the default makes a thousand warnings of the sanitizer's symbols.
          linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address", "-use-ld=lld"])]),
      ] : [])
)
