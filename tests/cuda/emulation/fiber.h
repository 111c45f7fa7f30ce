#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <memory>
#include <vector>

#include "options.h"
#include "sanitizer.h"

namespace hesscope::emulation {

#if defined(__x86_64__)
/// Save the callee-saved registers and the stack pointer of the running flow in `*saved`, then go
/// on where `next` was saved.
__attribute__((naked, noinline, no_sanitize("address", "thread", "undefined"))) inline void
switch_stack([[maybe_unused]] void** saved, [[maybe_unused]] void* next) {
  asm(R"(
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
  )");
}
inline constexpr std::size_t kSavedRegisters = 6;
#else
#error "the CUDA emulator has a context switch for x86-64 only"
#endif

/// A flow of control that can be left and resumed: a fiber, or the scheduler on its OS thread's
/// stack.
struct Flow {
  void* stack_pointer = nullptr;
  const void* stack =
      nullptr;  // lowest address and size; of the scheduler learnt at the first switch
  std::size_t stack_bytes = 0;
  void* fake_stack = nullptr;       // address sanitizer's
  void* sanitizer_fiber = nullptr;  // thread sanitizer's
};

/// First thing a new fiber does: `from` is the flow that resumed it.
HESSCOPE_EMULATION_UNSEEN inline void arrive_first_time([[maybe_unused]] Flow& from) {
#if defined(HESSCOPE_EMULATION_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &from.stack, &from.stack_bytes);
#endif
}

/// Leave `from` for `to`; returns when something resumes `from`, never if `from` is `dying`.
HESSCOPE_EMULATION_UNSEEN __attribute__((noinline)) inline void switch_flow(
    Flow& from, Flow& to, [[maybe_unused]] bool dying = false) {
#if defined(HESSCOPE_EMULATION_ASAN)
  __sanitizer_start_switch_fiber(dying ? nullptr : &from.fake_stack, to.stack, to.stack_bytes);
#endif
#if defined(HESSCOPE_EMULATION_TSAN)
  __tsan_switch_to_fiber(to.sanitizer_fiber, 1);  // 1: the switch does not synchronise
#endif
  switch_stack(&from.stack_pointer, to.stack_pointer);
#if defined(HESSCOPE_EMULATION_ASAN)
  __sanitizer_finish_switch_fiber(from.fake_stack, &to.stack, &to.stack_bytes);
#endif
}

/// A stack of its own, below it a page that faults.
class Fiber {
 public:
  Fiber() {
    void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw Error("no memory for the stack of a CUDA thread");
    mprotect(memory, kPage, PROT_NONE);
    bottom_ = static_cast<std::byte*>(memory);
    flow.stack = bottom_ + kPage;
    flow.stack_bytes = kBytes - kPage;
#if defined(HESSCOPE_EMULATION_TSAN)
    flow.sanitizer_fiber = __tsan_create_fiber(0);
#endif
  }
  ~Fiber() {
#if defined(HESSCOPE_EMULATION_TSAN)
    __tsan_destroy_fiber(flow.sanitizer_fiber);
#endif
    munmap(bottom_, kBytes);
  }
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next switch to `flow` calls `entry`, which never returns.
  HESSCOPE_EMULATION_UNSEEN void prepare(void (*entry)()) {
    permit(flow.stack, flow.stack_bytes);  // frames of the thread that died here
    // From the top: a null return address of `entry` (which also aligns its frame), `entry`,
    // registers.
    auto** top = reinterpret_cast<void**>(bottom_ + kBytes - 64);
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(entry);
    for (std::size_t i = 0; i < kSavedRegisters; ++i) *--top = nullptr;
    flow.stack_pointer = top;
  }

  Flow flow;

 private:
  static constexpr std::size_t kPage = 4096;
  static constexpr std::size_t kBytes = 128 << 10;

  std::byte* bottom_ = nullptr;
};

/// Fibers that one worker keeps from block to block: under the thread sanitizer they are dear.
class FiberPool {
 public:
  Fiber* take() {
    if (idle_.empty()) {
      all_.push_back(std::make_unique<Fiber>());
      idle_.push_back(all_.back().get());
    }
    Fiber* fiber = idle_.back();
    idle_.pop_back();
    return fiber;
  }
  void put_back(Fiber* fiber) { idle_.push_back(fiber); }

 private:
  std::vector<std::unique_ptr<Fiber>> all_;
  std::vector<Fiber*> idle_;
};

}  // namespace hesscope::emulation
