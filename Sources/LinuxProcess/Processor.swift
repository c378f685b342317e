import CLinux
public import LinuxSystem

/// Processors of the host, by number (sched_setaffinity(2)).
public enum Processor {
  /// Confines a thread to one of them; 0 is the calling thread. A process of one thread has its number.
  public static func confine(thread: Int32, to processor: Int) throws(LinuxError) {
    try checked(
      "confine thread \(thread) to processor \(processor)",
      dormouse_confine_thread(thread, UInt32(clamping: processor)))
  }
}
