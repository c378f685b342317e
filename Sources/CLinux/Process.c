#define _GNU_SOURCE
#include "CLinuxProcess.h"
