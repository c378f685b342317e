import TestBed

/// What the audience has seen of one way to get an idle guest's memory back.
struct DemoAct: Sendable {
  var releaseSeconds = 0.0
  /// What the guest's QEMU no longer has in memory.
  var releasedBytes: Int64 = 0
  var pingsAnswered = 0
  var keepalives = KeepaliveCounter.Count()
  var sshLives = false
  var httpLives = false
  var replySeconds = 0.0
  /// By which the guest's clock is behind the host's.
  var clockBehindSeconds = 0.0

  static func comparison(_ dormouse: DemoAct, _ saved: DemoAct) -> [String] {
    let columns: [(DemoAct) -> [String]] = [
      { act in
        [
          seconds(act.releaseSeconds), mebibytes(act.releasedBytes),
          "\(act.pingsAnswered) of \(DemoStage.secondsAsleep)",
          "\(act.keepalives.answered) of \(act.keepalives.sent)",
          act.sshLives ? "lives" : "lost", act.httpLives ? "lives" : "lost",
          seconds(act.replySeconds), clock(act.clockBehindSeconds),
        ]
      }
    ]
    let rows = [
      "time to give memory back", "memory given back", "pings answered meanwhile",
      "keepalives answered meanwhile", "SSH session, keepalives on",
      "HTTP connection, keepalives on", "from a keystroke to the reply",
      "guest's clock two seconds later",
    ]
    let cells = columns.flatMap { column in zip(column(dormouse), column(saved)).map { [$0, $1] } }
    let head = ["", "Dormouse", "save to disk and restore"]
    var lines = table([head] + zip(rows, cells).map { [$0] + $1 })
    lines.append("")
    lines.append(
      "The reply came \(decimal(saved.replySeconds / dormouse.replySeconds, 0)) times sooner.")
    return lines
  }

  private static func clock(_ behind: Double) -> String {
    abs(behind) < 1 ? "right" : "\(decimal(behind, 1)) s behind"
  }
}

/// A time as a person reads it.
func seconds(_ value: Double) -> String {
  value < 1 ? decimal(value * 1_000, 0) + " ms" : decimal(value, 1) + " s"
}
