#pragma once

/// What the sanitizers must be told. Lessons paid for: the thread sanitizer sees a race between two
/// CUDA threads only if each is a sanitizer fiber and switching between them does not synchronise;
/// the emulator's own bookkeeping must be invisible to it.
#if defined(__SANITIZE_ADDRESS__)
#define HESSCOPE_EMULATION_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HESSCOPE_EMULATION_ASAN 1
#endif
#endif

#if defined(__SANITIZE_THREAD__)
#define HESSCOPE_EMULATION_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HESSCOPE_EMULATION_TSAN 1
#endif
#endif

#include <cstddef>

#if defined(HESSCOPE_EMULATION_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(HESSCOPE_EMULATION_TSAN)
extern "C" {
void* __tsan_get_current_fiber(void);
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
/// For the emulator's functions: their memory accesses are not the kernel's.
#define HESSCOPE_EMULATION_UNSEEN __attribute__((no_sanitize("thread")))
#else
#define HESSCOPE_EMULATION_UNSEEN
#endif

namespace hesscope::emulation {

#if defined(HESSCOPE_EMULATION_TSAN)

/// Every CUDA thread of a block is a fiber of its own, with a stack of its own; otherwise a stack
/// whose thread has returned serves the next one.
inline constexpr bool kFiberPerThread = true;

/// In its scope even library functions that the emulator calls are not watched.
class Unwatched {
 public:
  HESSCOPE_EMULATION_UNSEEN Unwatched() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  HESSCOPE_EMULATION_UNSEEN ~Unwatched() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
  Unwatched(const Unwatched&) = delete;
  Unwatched& operator=(const Unwatched&) = delete;
};

/// What happened before release(p) happened before what follows acquire(p).
inline void release(void* edge) { __tsan_release(edge); }
inline void acquire(void* edge) { __tsan_acquire(edge); }

#else

inline constexpr bool kFiberPerThread = false;

struct Unwatched {
  ~Unwatched() {}  // a destructor keeps compilers from calling the object unused
};
inline void release(void*) {}
inline void acquire(void*) {}

#endif

#if defined(HESSCOPE_EMULATION_ASAN)
inline void forbid(const void* from, std::size_t bytes) {
  __asan_poison_memory_region(from, bytes);
}
inline void permit(const void* from, std::size_t bytes) {
  __asan_unpoison_memory_region(from, bytes);
}
#else
inline void forbid(const void*, std::size_t) {}
inline void permit(const void*, std::size_t) {}
#endif

}  // namespace hesscope::emulation
