#pragma once
#include "CLinuxSystem.h"

/// madvise(2) values.
static const int dormouse_advice_will_need = 3;
static const int dormouse_advice_cold = 20;
static const int dormouse_advice_page_out = 21;

/// A range of another process's addresses; the layout of struct iovec.
struct dormouse_range {
  uintptr_t start;
  size_t length;
};

/// process_madvise(2): bytes advised, which may be fewer than asked for, or -1.
ssize_t dormouse_process_madvise(int pidfd, const struct dormouse_range *ranges, size_t count,
                                 int advice);

/// cachestat(2) of a part of a file; a length of 0 reaches to its end. Pages in the page cache, or -1.
int64_t dormouse_cached_pages(int fd, uint64_t offset, uint64_t length);

/// mincore(2): one byte per page, whose lowest bit says that the page is in memory.
int dormouse_mincore(void *address, size_t length, unsigned char *pages);

/// pread(2), again on EINTR.
ssize_t dormouse_pread(int fd, void *bytes, size_t count, uint64_t offset);

/// PAGEMAP_SCAN (ioctl on /proc/PID/pagemap, Linux 6.7): the parts of an address range whose pages are in
/// the page table, as pairs of first address and address after the last. Returns how many parts, or -1;
/// `*walked` is where the next call goes on.
long dormouse_scan_present_pages(int pagemap, uint64_t start, uint64_t end, uint64_t *pairs,
                                 size_t count, uint64_t *walked);

/// lseek(2), SEEK_DATA and SEEK_HOLE: where the file's next part with content begins, at `start` or later, and
/// ends; -1 with ENXIO when there is no more. Moves the file's position.
int64_t dormouse_next_data(int fd, int64_t start, int64_t *end);

/// ioprio_set(2) for the calling thread: it gets the disk only when nobody else wants it, if the disk's
/// scheduler knows of such classes.
int dormouse_idle_io_priority(void);

/// The device that a file lies on, and, for a block device node, the device that it is; 0:0 otherwise.
int dormouse_file_devices(const char *path, unsigned int *on_major, unsigned int *on_minor,
                          unsigned int *is_major, unsigned int *is_minor);

/// Whether a file lies on hugetlbfs: 1 or 0, or -1 with errno.
int dormouse_is_hugetlbfs(int fd);

/// Bytes per page.
size_t dormouse_page_size(void);
