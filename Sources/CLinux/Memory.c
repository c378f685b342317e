#define _GNU_SOURCE
#include "CLinuxMemory.h"

#include <errno.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

// System call numbers that older headers lack; the same on all architectures.
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

ssize_t dormouse_process_madvise(int pidfd, const struct dormouse_range *ranges, size_t count,
                                 int advice) {
  return syscall(SYS_process_madvise, pidfd, ranges, count, advice, 0u);
}

int64_t dormouse_cached_pages(int fd, uint64_t offset, uint64_t length) {
  // struct cachestat_range and struct cachestat of linux/mman.h, Linux 6.5.
  struct {
    uint64_t offset, length;
  } range = {offset, length};
  struct {
    uint64_t cached, dirty, writeback, evicted, recently_evicted;
  } result;
  if (syscall(SYS_cachestat, fd, &range, &result, 0u) != 0) return -1;
  return (int64_t)result.cached;
}

void *dormouse_map_for_reading(int fd, uint64_t offset, size_t length) {
  void *address = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, (off_t)offset);
  return address == MAP_FAILED ? NULL : address;
}

int dormouse_unmap(void *address, size_t length) { return munmap(address, length); }

int dormouse_mincore(void *address, size_t length, unsigned char *pages) {
  return mincore(address, length, pages);
}

ssize_t dormouse_pread(int fd, void *bytes, size_t count, uint64_t offset) {
  ssize_t result;
  do result = pread(fd, bytes, count, (off_t)offset);
  while (result == -1 && errno == EINTR);
  return result;
}

int dormouse_file_devices(const char *path, unsigned int *on_major, unsigned int *on_minor,
                          unsigned int *is_major, unsigned int *is_minor) {
  struct stat status;
  if (stat(path, &status) != 0) return -1;
  *on_major = major(status.st_dev);
  *on_minor = minor(status.st_dev);
  *is_major = S_ISBLK(status.st_mode) ? major(status.st_rdev) : 0;
  *is_minor = S_ISBLK(status.st_mode) ? minor(status.st_rdev) : 0;
  return 0;
}

int dormouse_is_hugetlbfs(int fd) {
  struct statfs system;
  if (fstatfs(fd, &system) != 0) return -1;
  return system.f_type == HUGETLBFS_MAGIC;
}

size_t dormouse_page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }
