#pragma once

/// Fences and what they order. The thread sanitizer knows no fences, so they are spelled out for it
/// as CUDA's memory model has them: an atomic orders nothing by itself; it publishes what its
/// thread wrote if a fence came before, and a fence that follows it takes over what was published
/// there.
///
///   write; __threadfence(); atomicInc(&ticket)   |   atomicInc(&ticket); __threadfence(); read
///
/// is clean, and a race is reported if either fence is missing.
#include "block.h"

namespace hesscope::emulation {

/// Every atomic calls this first.
HESSCOPE_EMULATION_UNSEEN inline void note_atomic([[maybe_unused]] void* address) {
#if defined(HESSCOPE_EMULATION_TSAN)
  Thread& self = *block_of("atomic operation").running;
  self.last_atomic = address;
  if (self.fenced) release(address);
#endif
}

HESSCOPE_EMULATION_UNSEEN inline void fence() {
  Thread& self = *block_of("__threadfence").running;
  self.fenced = true;
  __sync_synchronize();
  if (self.last_atomic != nullptr) acquire(self.last_atomic);
}

}  // namespace hesscope::emulation

inline void __threadfence() { hesscope::emulation::fence(); }
inline void __threadfence_block() { hesscope::emulation::fence(); }
inline void __threadfence_system() { hesscope::emulation::fence(); }
