import Glibc
import SentryProcess

// Started by the daemon only, with its listening socket; there is nothing here for a person to call.
let arguments = CommandLine.arguments
guard arguments.count == 3, arguments[1] == "--listen-descriptor",
  let descriptor = Int32(arguments[2])
else {
  exit(SentryMain.refuse())
}
exit(SentryMain.run(listenDescriptor: descriptor))
