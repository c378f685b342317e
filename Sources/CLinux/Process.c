#define _GNU_SOURCE
#include "CLinuxProcess.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// System call numbers that older headers lack; the same on all architectures.
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

#define CLOSE_RANGE_UNSHARE_FLAG 2u
#define CLOSE_RANGE_CLOEXEC_FLAG 4u
#define P_PIDFD_TYPE 3

int dormouse_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

int dormouse_pidfd_send_signal(int pidfd, int signal) {
  return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}

int dormouse_pidfd_getfd(int pidfd, int remote) {
  return (int)syscall(SYS_pidfd_getfd, pidfd, remote, 0);
}

int dormouse_pidfd_reap(int pidfd, int *reason, int *status) {
  siginfo_t info;
  memset(&info, 0, sizeof info);
  int result;
  do result = waitid(P_PIDFD_TYPE, (id_t)pidfd, &info, WEXITED | WNOHANG);
  while (result == -1 && errno == EINTR);
  if (result != 0) return -1;
  if (info.si_pid == 0) return 0;
  *reason = info.si_code;
  *status = info.si_status;
  return 1;
}

ssize_t dormouse_readlink(const char *path, void *buffer, size_t capacity) {
  return readlink(path, buffer, capacity);
}

long dormouse_clock_ticks(void) { return sysconf(_SC_CLK_TCK); }

// ---- Launching. Between clone and exec only async-signal-safe calls are made: other threads of the parent
// may have held any lock of the C library at that moment.

// From the child to its parent; step 0 says that the child's table of descriptors is its own.
struct launch_message {
  int step;
  int error;
};

_Noreturn static void give_up(int report, int step) {
  struct launch_message failure = {step, errno};
  ssize_t ignored = write(report, &failure, sizeof failure);
  (void)ignored;
  _exit(127);
}

// By raw system call: the C library refuses to touch its own two signals, which a parent may have been
// started with ignored. All zero is the default action, whatever the layout of the structure is.
static void reset_signal_actions(void) {
  const char standard[64] = {0};
  for (int number = 1; number <= 64; number++) {
    syscall(SYS_rt_sigaction, number, standard, NULL, sizeof(uint64_t));
  }
}

static int join_control_group(const char *path) {
  int file = open(path, O_WRONLY | O_CLOEXEC);
  if (file == -1) return -1;
  ssize_t written = write(file, "0", 1);
  int error = errno;
  close(file);
  errno = error;
  return written == 1 ? 0 : -1;
}

// Raw system calls: the C library's wrappers want to tell the parent's other threads, which do not exist
// in the child.
static int drop_bounding_set(uint64_t kept) {
  for (int capability = 0; capability < 64; capability++) {
    if ((kept >> capability) & 1) continue;
    int present = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (present == -1) break;  // Past the last capability of this kernel.
    if (present == 1 && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) return -1;
  }
  return 0;
}

static int change_identity(const struct dormouse_launch *launch) {
  if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return -1;
  if (syscall(SYS_setgroups, launch->group_count, launch->groups) != 0) return -1;
  if (syscall(SYS_setresgid, launch->gid, launch->gid, launch->gid) != 0) return -1;
  return (int)syscall(SYS_setresuid, launch->uid, launch->uid, launch->uid);
}

static int limit_capabilities(uint64_t kept) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  struct __user_cap_data_struct data[2];
  for (int half = 0; half < 2; half++) {
    uint32_t bits = (uint32_t)(kept >> (32 * half));
    data[half].effective = bits;
    data[half].permitted = bits;
    data[half].inheritable = bits;
  }
  if (syscall(SYS_capset, &header, data) != 0) return -1;
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return -1;
  for (int capability = 0; capability < 64; capability++) {
    if (((kept >> capability) & 1) == 0) continue;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) != 0) return -1;
  }
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

// A copy of each of the parent's descriptors in every child would mean that what the parent closes is not
// closed until that child's exec, and that a tap, say, stays busy. So the child is born with the parent's
// own table and takes a copy of it that leaves out, or at once drops, what it is not given.
static int keep_only_sources(const struct dormouse_launch *launch, int report) {
  size_t count = launch->descriptor_count + 1;
  int kept[count];
  for (size_t index = 0; index < count; index++) {
    int number = index == 0 ? report : launch->sources[index - 1];
    size_t place = index;
    for (; place > 0 && kept[place - 1] > number; place--) kept[place] = kept[place - 1];
    kept[place] = number;
  }
  unsigned end = (unsigned)kept[count - 1] + 1;
  if (syscall(SYS_close_range, end, UINT_MAX, CLOSE_RANGE_UNSHARE_FLAG) != 0) return -1;
  unsigned next = 0;
  for (size_t index = 0; index < count; index++) {
    if (kept[index] < 0) continue;
    unsigned number = (unsigned)kept[index];
    if (number > next && syscall(SYS_close_range, next, number - 1, 0u) != 0) return -1;
    if (number >= next) next = number + 1;
  }
  return 0;
}

static int arrange_descriptors(const struct dormouse_launch *launch, int *report) {
  // What is left closes at exec, except what is put in place with dup2 below.
  if (syscall(SYS_close_range, 0u, UINT_MAX, CLOSE_RANGE_CLOEXEC_FLAG) != 0) return -1;

  int floor = 3;
  for (size_t index = 0; index < launch->descriptor_count; index++) {
    if (launch->targets[index] >= floor) floor = launch->targets[index] + 1;
  }
  // First out of the way, then into place: a target may be another one's source.
  *report = fcntl(*report, F_DUPFD_CLOEXEC, floor);
  if (*report == -1) _exit(127);
  int moved[launch->descriptor_count + 1];
  for (size_t index = 0; index < launch->descriptor_count; index++) {
    moved[index] = fcntl(launch->sources[index], F_DUPFD_CLOEXEC, floor);
    if (moved[index] == -1) return -1;
  }
  int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nothing == -1) return -1;
  int null = fcntl(nothing, F_DUPFD_CLOEXEC, floor);
  if (null == -1) return -1;
  for (int standard = 0; standard < 3; standard++) {
    if (dup2(null, standard) == -1) return -1;
  }
  for (size_t index = 0; index < launch->descriptor_count; index++) {
    if (dup2(moved[index], launch->targets[index]) == -1) return -1;
  }
  return 0;
}

_Noreturn static void run_child(const struct dormouse_launch *launch, int report) {
  if (keep_only_sources(launch, report) != 0) give_up(report, dormouse_launch_descriptors);
  const struct launch_message separate = {0, 0};
  ssize_t ignored = write(report, &separate, sizeof separate);
  (void)ignored;

  reset_signal_actions();
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);

  for (char *const *file = launch->group_files; *file != NULL; file++) {
    if (join_control_group(*file) != 0) give_up(report, dormouse_launch_control_group);
  }
  if (arrange_descriptors(launch, &report) != 0) give_up(report, dormouse_launch_descriptors);
  if (launch->new_session && setsid() == -1) give_up(report, dormouse_launch_session);
  umask(077);
  if (chdir("/") != 0) give_up(report, dormouse_launch_session);
  if (launch->has_credentials) {
    if (drop_bounding_set(launch->capabilities) != 0) {
      give_up(report, dormouse_launch_bounding_set);
    }
    if (change_identity(launch) != 0) give_up(report, dormouse_launch_identity);
    if (limit_capabilities(launch->capabilities) != 0) {
      give_up(report, dormouse_launch_capabilities);
    }
  }
  execve(launch->path, launch->arguments, launch->environment);
  give_up(report, dormouse_launch_execute);
}

// Waits for the child's next message. 0 when there is none: it got to exec, or has died.
static int next_message(int report, int pidfd, struct launch_message *message) {
  struct pollfd sources[2] = {{.fd = report, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
  int ready;
  do ready = poll(sources, 2, -1);
  while (ready == -1 && errno == EINTR);
  if (ready == -1 || sources[0].revents == 0) return 0;
  return dormouse_read(report, message, sizeof *message) == (ssize_t)sizeof *message;
}

pid_t dormouse_launch(const struct dormouse_launch *launch, int *step, int *error) {
  *step = dormouse_launch_prepare;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    *error = errno;
    return -1;
  }

  // With all signals blocked, no handler of the parent can run in the child.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int pidfd = -1;
  pid_t child =
      (pid_t)syscall(SYS_clone, CLONE_FILES | CLONE_PIDFD | SIGCHLD, NULL, &pidfd, NULL, NULL);
  if (child == 0) run_child(launch, ends[1]);
  *error = errno;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (child == -1) {
    close(ends[0]);
    close(ends[1]);
    return -1;
  }

  // Until the child has a table of descriptors of its own, closing here would close there.
  struct launch_message message = {.step = dormouse_launch_prepare, .error = EIO};
  int separate = next_message(ends[0], pidfd, &message) && message.step == 0;
  close(ends[1]);
  int failed = !separate || next_message(ends[0], pidfd, &message);
  close(ends[0]);
  close(pidfd);
  if (!failed) return child;

  int ignored;
  while (waitpid(child, &ignored, 0) == -1 && errno == EINTR) {
  }
  *step = message.step;
  *error = message.error;
  return -1;
}

int dormouse_confine_thread(pid_t thread, unsigned int processor) {
  if (processor >= CPU_SETSIZE) {
    errno = EINVAL;
    return -1;
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  return sched_setaffinity(thread, sizeof set, &set);
}
