#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int dormouse_errno(void);
int dormouse_close(int fd);
int dormouse_dup_cloexec(int fd);

/// Starts a detached thread. Returns 0 or an errno value; the name is cut to 15 bytes.
int dormouse_spawn_thread(const char *name, void (*body)(void *), void *context);

/// open(2) with O_CLOEXEC, again on EINTR.
int dormouse_open(const char *path, int flags, mode_t mode);
/// A descriptor that only names a directory (O_PATH).
int dormouse_open_directory(const char *path);
/// read(2) and write(2), again on EINTR.
ssize_t dormouse_read(int fd, void *bytes, size_t count);
ssize_t dormouse_write(int fd, const void *bytes, size_t count);

/// memfd_create(2), close-on-exec.
int dormouse_memfd_create(const char *name);

/// Raises the process's soft limit of open files to the hard one; returns the limit that then holds, or -1.
int64_t dormouse_raise_descriptor_limit(void);

/// CLOCK_MONOTONIC in nanoseconds.
uint64_t dormouse_monotonic_nanoseconds(void);

/// poll(2) of one descriptor for POLLIN; a negative time-out waits for ever.
/// 1 when readable or hung up, 0 on time-out, -1 on error.
int dormouse_poll_readable(int fd, int timeout_milliseconds);

/// An epoll instance whose registrations carry a token.
int dormouse_epoll_create(void);
int dormouse_epoll_add_readable(int epoll, int fd, uint64_t token);
/// Changes whether it is also watched for room to write.
int dormouse_epoll_set_writable(int epoll, int fd, uint64_t token, int writable);
int dormouse_epoll_remove(int epoll, int fd);
/// Waits for events, for ever if the time-out is negative, and stores their tokens; again on EINTR. The
/// number stored, or -1.
int dormouse_epoll_wait(int epoll, uint64_t *tokens, int capacity, int timeout_milliseconds);

/// A timerfd on CLOCK_MONOTONIC; a deadline of 0 disarms.
int dormouse_timer_create(void);
int dormouse_timer_set(int timer, uint64_t deadline_nanoseconds);

/// Unix sockets: close-on-exec and non-blocking. Paths must fit sun_path (107 bytes), else ENAMETOOLONG.
int dormouse_unix_stream(void);
int dormouse_unix_seqpacket(void);
int dormouse_unix_seqpacket_pair(int ends[2]);
int dormouse_unix_bind(int fd, const char *path);
int dormouse_unix_connect(int fd, const char *path);
int dormouse_unix_accept(int fd);
int dormouse_unix_peer(int fd, pid_t *pid, uid_t *uid, gid_t *gid);

/// The greatest number of descriptors in one message (the kernel's SCM_MAX_FD).
static const size_t dormouse_message_descriptors_max = 253;

/// One packet with descriptors, without waiting and without SIGPIPE.
ssize_t dormouse_message_send(int fd, const void *bytes, size_t count, const int *descriptors,
                              size_t descriptor_count);
/// One packet, without waiting. `descriptors` has room for dormouse_message_descriptors_max, all received
/// ones are stored there close-on-exec. `truncated` becomes 1 when bytes or descriptors were cut off.
ssize_t dormouse_message_receive(int fd, void *bytes, size_t count, int *descriptors,
                                 size_t *descriptor_count, int *truncated);
