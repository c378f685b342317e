#define _GNU_SOURCE
#include "CLinuxMemory.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
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

int dormouse_mincore(void *address, size_t length, unsigned char *pages) {
  return mincore(address, length, pages);
}

ssize_t dormouse_pread(int fd, void *bytes, size_t count, uint64_t offset) {
  ssize_t result;
  do result = pread(fd, bytes, count, (off_t)offset);
  while (result == -1 && errno == EINTR);
  return result;
}

long dormouse_scan_present_pages(int pagemap, uint64_t start, uint64_t end, uint64_t *pairs,
                                 size_t count, uint64_t *walked) {
  // struct page_region and struct pm_scan_arg of linux/fs.h, which older headers lack.
  struct region {
    uint64_t start, end, categories;
  };
  struct {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
  } scan = {.size = sizeof scan, .start = start, .end = end};
  const uint64_t present = 1 << 3;  // PAGE_IS_PRESENT
  struct region *regions = calloc(count, sizeof *regions);
  if (regions == NULL) return -1;
  scan.vec = (uintptr_t)regions;
  scan.vec_len = count;
  scan.category_mask = present;
  scan.return_mask = present;
  long found = ioctl(pagemap, _IOC(_IOC_READ | _IOC_WRITE, 'f', 16, sizeof scan), &scan);
  int failure = errno;
  for (long index = 0; index < found; index++) {
    pairs[2 * index] = regions[index].start;
    pairs[2 * index + 1] = regions[index].end;
  }
  free(regions);
  *walked = scan.walk_end;
  errno = failure;
  return found;
}

int dormouse_idle_io_priority(void) {
  const int of_a_thread = 1, idle_class = 3;
  return (int)syscall(SYS_ioprio_set, of_a_thread, 0, idle_class << 13);
}

int64_t dormouse_next_data(int fd, int64_t start, int64_t *end) {
  off_t data = lseek(fd, start, SEEK_DATA);
  if (data < 0) return -1;
  *end = lseek(fd, data, SEEK_HOLE);
  return *end < 0 ? -1 : data;
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
