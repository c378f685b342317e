#define _GNU_SOURCE
#include "CLinuxNetwork.h"
