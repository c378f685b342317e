#pragma once
#include "CLinuxSystem.h"

/// pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2): all close-on-exec.
int dormouse_pidfd_open(pid_t pid);
int dormouse_pidfd_send_signal(int pidfd, int signal);
int dormouse_pidfd_getfd(int pidfd, int remote);

/// waitid(2) of a child by its pidfd, without waiting. 1 when it was reaped, 0 when it still runs, -1 on
/// error (ECHILD: not our child). `reason` is a CLD_ value, `status` an exit status or a signal.
int dormouse_pidfd_reap(int pidfd, int *reason, int *status);

static const int dormouse_child_exited = 1;
static const int dormouse_child_dumped = 3;

/// readlink(2) into a buffer; the length, without a terminator.
ssize_t dormouse_readlink(const char *path, void *buffer, size_t capacity);

/// Clock ticks per second in /proc (sysconf(_SC_CLK_TCK)).
long dormouse_clock_ticks(void);

/// What dormouse_launch needs, all of it made before fork(2).
struct dormouse_launch {
  const char *path;
  char *const *arguments;
  char *const *environment;
  /// Parent's descriptor `sources[i]` becomes the child's `targets[i]`.
  const int *sources;
  const int *targets;
  size_t descriptor_count;
  /// Files of control groups that the child writes itself into; ends with NULL.
  char *const *group_files;
  int new_session;
  /// Whether the rest applies.
  int has_credentials;
  uid_t uid;
  gid_t gid;
  const gid_t *groups;
  size_t group_count;
  /// Bit n stands for capability n.
  uint64_t capabilities;
};

/// Steps of a launch that can fail, in their order.
enum dormouse_launch_step {
  dormouse_launch_prepare = 1,
  dormouse_launch_control_group,
  dormouse_launch_descriptors,
  dormouse_launch_session,
  dormouse_launch_bounding_set,
  dormouse_launch_identity,
  dormouse_launch_capabilities,
  dormouse_launch_execute,
};

/// Starts a program. Its pid, or -1 with the step that failed and its errno; then no child is left.
pid_t dormouse_launch(const struct dormouse_launch *launch, int *step, int *error);

/// Lets a thread, 0 for the calling one, run on that processor alone.
int dormouse_confine_thread(pid_t thread, unsigned int processor);
