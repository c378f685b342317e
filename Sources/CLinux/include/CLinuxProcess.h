#pragma once
#include "CLinuxSystem.h"
