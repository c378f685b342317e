import CFuzzer
import FuzzTargets
import Glibc

/// libFuzzer with its own arguments, for the target that `DORMOUSE_FUZZ_TARGET` names; without one it
/// says which there are, with the longest useful input of each. Built and run by `scripts/fuzz.sh`.
@main
enum FuzzProgram {
  static func main() {
    guard chosen != nil else {
      for target in FuzzTarget.all { print(target.name, target.maximumLength) }
      return
    }
    var count = CommandLine.argc
    var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
    exit(LLVMFuzzerRunDriver(&count, &arguments, testOneInput))
  }

  static let chosen = getenv("DORMOUSE_FUZZ_TARGET").flatMap { name in
    FuzzTarget.all.first { $0.name == String(cString: name) }
  }
}

/// libFuzzer's own main() refers to this name, so it is here although the driver is given it.
@_cdecl("LLVMFuzzerTestOneInput")
func testOneInput(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  guard let target = FuzzProgram.chosen else { return -1 }
  do {
    try target.run(UnsafeRawBufferPointer(start: data, count: count))
    return 0
  } catch {
    // A crash is the one way to tell libFuzzer of a find: it catches SIGABRT and writes the input down.
    let text = "\(target.name): \(error)\n"
    _ = text.withCString { write(STDERR_FILENO, $0, strlen($0)) }
    abort()
  }
}
