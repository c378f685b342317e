import Glibc
import SentryProcess

// Started by the daemon only, with its listening socket; there is nothing here for a person to call.
let arguments = CommandLine.arguments
guard arguments.count == 3, arguments[1] == "--listen-descriptor",
  let descriptor = Int32(arguments[2])
else {
  fputs("usage: dormouse-sentry --listen-descriptor N (started by dormoused)\n", stderr)
  exit(64)
}
exit(SentryMain.run(listenDescriptor: descriptor))
