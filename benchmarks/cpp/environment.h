#pragma once

#include <string>

#include "hesscope/types.h"

namespace hesscope::bench {

/// The processor as the operating system names it.
std::string cpu_name();

/// Bytes of the cache that inputs must exceed to come from memory: the last level of this
/// machine's CPU, or a bound for today's GPUs.
index_t cache_bytes(Backend backend);

/// What a number needs to be compared with another: a JSON object.
std::string environment_json(Backend backend, int threads);

}  // namespace hesscope::bench
