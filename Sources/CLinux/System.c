#define _GNU_SOURCE
#include "CLinuxSystem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

int dormouse_errno(void) { return errno; }

int dormouse_close(int fd) { return close(fd); }

int dormouse_dup_cloexec(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, 0); }

struct thread_start {
  void (*body)(void *);
  void *context;
  char name[16];
};

static void *thread_main(void *argument) {
  struct thread_start start = *(struct thread_start *)argument;
  free(argument);
  pthread_setname_np(pthread_self(), start.name);
  start.body(start.context);
  return NULL;
}

int dormouse_spawn_thread(const char *name, void (*body)(void *), void *context) {
  struct thread_start *start = malloc(sizeof *start);
  if (start == NULL) return ENOMEM;
  start->body = body;
  start->context = context;
  strncpy(start->name, name, sizeof start->name - 1);
  start->name[sizeof start->name - 1] = '\0';

  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  int failure = pthread_create(&thread, &attributes, thread_main, start);
  pthread_attr_destroy(&attributes);
  if (failure != 0) {
    free(start);
    return failure;
  }
  return 0;
}

int dormouse_open(const char *path, int flags, mode_t mode) {
  int fd;
  do fd = open(path, flags | O_CLOEXEC, mode);
  while (fd == -1 && errno == EINTR);
  return fd;
}

int dormouse_open_directory(const char *path) {
  return dormouse_open(path, O_PATH | O_DIRECTORY, 0);
}

ssize_t dormouse_read(int fd, void *bytes, size_t count) {
  ssize_t result;
  do result = read(fd, bytes, count);
  while (result == -1 && errno == EINTR);
  return result;
}

ssize_t dormouse_write(int fd, const void *bytes, size_t count) {
  ssize_t result;
  do result = write(fd, bytes, count);
  while (result == -1 && errno == EINTR);
  return result;
}

int dormouse_memfd_create(const char *name) { return memfd_create(name, MFD_CLOEXEC); }

int64_t dormouse_raise_descriptor_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == -1) return -1;
  if (limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == -1) return -1;
  }
  return limit.rlim_cur > INT64_MAX ? INT64_MAX : (int64_t)limit.rlim_cur;
}

uint64_t dormouse_monotonic_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int dormouse_poll_readable(int fd, int timeout_milliseconds) {
  struct pollfd entry = {.fd = fd, .events = POLLIN};
  int result;
  do result = poll(&entry, 1, timeout_milliseconds);
  while (result == -1 && errno == EINTR);
  // poll(2) passes over negative numbers.
  if (fd < 0 || (result == 1 && (entry.revents & POLLNVAL) != 0)) {
    errno = EBADF;
    return -1;
  }
  return result;
}

int dormouse_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

int dormouse_epoll_add_readable(int epoll, int fd, uint64_t token) {
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = token};
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

int dormouse_epoll_set_writable(int epoll, int fd, uint64_t token, int writable) {
  struct epoll_event event = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.u64 = token};
  return epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
}

int dormouse_epoll_remove(int epoll, int fd) {
  struct epoll_event ignored = {0};
  return epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &ignored);
}

int dormouse_epoll_wait(int epoll, uint64_t *tokens, int capacity, int timeout_milliseconds) {
  struct epoll_event events[64];
  if (capacity > 64) capacity = 64;
  int count;
  do count = epoll_wait(epoll, events, capacity, timeout_milliseconds);
  while (count == -1 && errno == EINTR);
  for (int index = 0; index < count; index++) tokens[index] = events[index].data.u64;
  return count;
}

int dormouse_timer_create(void) {
  return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
}

int dormouse_timer_set(int timer, uint64_t deadline_nanoseconds) {
  struct itimerspec setting = {0};
  setting.it_value.tv_sec = (time_t)(deadline_nanoseconds / 1000000000u);
  setting.it_value.tv_nsec = (long)(deadline_nanoseconds % 1000000000u);
  return timerfd_settime(timer, TFD_TIMER_ABSTIME, &setting, NULL);
}

int dormouse_unix_stream(void) {
  return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

int dormouse_unix_seqpacket(void) {
  return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

int dormouse_unix_seqpacket_pair(int ends[2]) {
  return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends);
}

static int unix_address(struct sockaddr_un *address, const char *path) {
  size_t length = strlen(path);
  if (length >= sizeof address->sun_path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path, path, length);
  return 0;
}

int dormouse_unix_bind(int fd, const char *path) {
  struct sockaddr_un address;
  if (unix_address(&address, path) != 0) return -1;
  return bind(fd, (struct sockaddr *)&address, sizeof address);
}

int dormouse_unix_connect(int fd, const char *path) {
  struct sockaddr_un address;
  if (unix_address(&address, path) != 0) return -1;
  int result;
  do result = connect(fd, (struct sockaddr *)&address, sizeof address);
  while (result == -1 && errno == EINTR);
  return result;
}

int dormouse_unix_accept(int fd) {
  int result;
  do result = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  while (result == -1 && errno == EINTR);
  return result;
}

int dormouse_unix_peer(int fd, pid_t *pid, uid_t *uid, gid_t *gid) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return -1;
  *pid = peer.pid;
  *uid = peer.uid;
  *gid = peer.gid;
  return 0;
}

union descriptor_control {
  struct cmsghdr header;
  char room[CMSG_SPACE(253 * sizeof(int))];
};

ssize_t dormouse_message_send(int fd, const void *bytes, size_t count, const int *descriptors,
                              size_t descriptor_count) {
  if (descriptor_count > dormouse_message_descriptors_max) {
    errno = EINVAL;
    return -1;
  }
  struct iovec part = {.iov_base = (void *)bytes, .iov_len = count};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  union descriptor_control control;
  if (descriptor_count > 0) {
    memset(&control, 0, sizeof control);
    message.msg_control = control.room;
    message.msg_controllen = CMSG_SPACE(descriptor_count * sizeof(int));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptor_count * sizeof(int));
    memcpy(CMSG_DATA(header), descriptors, descriptor_count * sizeof(int));
  }
  ssize_t result;
  do result = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (result == -1 && errno == EINTR);
  return result;
}

ssize_t dormouse_message_receive(int fd, void *bytes, size_t count, int *descriptors,
                                 size_t *descriptor_count, int *truncated) {
  struct iovec part = {.iov_base = bytes, .iov_len = count};
  union descriptor_control control;
  struct msghdr message = {.msg_iov = &part,
                           .msg_iovlen = 1,
                           .msg_control = control.room,
                           .msg_controllen = sizeof control.room};
  *descriptor_count = 0;
  *truncated = 0;
  ssize_t result;
  do result = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  while (result == -1 && errno == EINTR);
  if (result == -1) return -1;
  *truncated = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    size_t received = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    // The kernel never delivers more than the control buffer holds, which is the maximum.
    memcpy(descriptors + *descriptor_count, CMSG_DATA(header), received * sizeof(int));
    *descriptor_count += received;
  }
  return result;
}
