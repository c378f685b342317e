// What Swift's importer cannot see of Linux: macros, variadic calls, errno, and system calls without a
// wrapper in the C library. Thin on purpose: no policy here.
#pragma once


#include "CLinuxSystem.h"
#include "CLinuxProcess.h"
#include "CLinuxMemory.h"
#include "CLinuxNetwork.h"
