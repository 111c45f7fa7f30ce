#pragma once

#include "hesscope/error.h"

#define HESSCOPE_STUB(op) \
  fail<NotCompiled>(op ": this build has no CUDA backend; rebuild with -DHESSCOPE_CUDA=ON")
