import Glibc
import SentryProcess

// Started by the daemon only, with its listening socket; there is nothing here for a person to call.
let arguments = CommandLine.arguments
guard arguments.count == 3, arguments[1] == "--listen-descriptor",
  let descriptor = Int32(arguments[2])
else {
  exit(SentryMain.refuse())
}
// The daemon starts this program by a descriptor, which is no name to find it by.
if let name = fopen("/proc/self/comm", "w") {
  fputs("dormouse-sentry", name)
  fclose(name)
}
exit(SentryMain.run(listenDescriptor: descriptor))
