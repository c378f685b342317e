#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int dormouse_errno(void);
int dormouse_close(int fd);
int dormouse_dup_cloexec(int fd);

/// Starts a detached thread. Returns 0 or an errno value; the name is cut to 15 bytes.
int dormouse_spawn_thread(const char *name, void (*body)(void *), void *context);
