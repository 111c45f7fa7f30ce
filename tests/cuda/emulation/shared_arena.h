#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "options.h"
#include "sanitizer.h"

namespace hesscope::emulation {

/// The shared memory of the blocks that run on one OS thread: the dynamic part, then the static
/// arrays in the order in which threads reach their declarations, each followed by a guard. Filled
/// with kPoison for every block: shared memory starts with garbage, whatever the last block left
/// there.
class SharedArena {
 public:
  SharedArena() : memory_(static_cast<std::byte*>(std::aligned_alloc(256, kCapacity))) {
    if (memory_ == nullptr) throw Error("no memory for the shared memory of a block");
  }
  ~SharedArena() { permit(memory_.get(), kCapacity); }
  SharedArena(const SharedArena&) = delete;
  SharedArena& operator=(const SharedArena&) = delete;

  HESSCOPE_EMULATION_UNSEEN void begin_block(std::size_t dynamic_bytes) {
    permit(memory_.get(), kCapacity);
    regions_.clear();
    used_ = static_bytes_ = 0;
    add(nullptr, "dynamic shared memory", dynamic_bytes);
  }

  void* dynamic() const { return memory_.get(); }
  std::size_t dynamic_bytes() const { return regions_.front().bytes; }

  /// The array declared at `declaration`, the same for every thread of the block.
  HESSCOPE_EMULATION_UNSEEN void* array(const void* declaration, const char* name,
                                        std::size_t bytes) {
    for (const Region& region : regions_) {
      if (region.declaration == declaration) return memory_.get() + region.offset;
    }
    static_bytes_ += bytes;
    if (static_bytes_ > kMaxStatic) throw Error("more than 48 KiB of static shared memory");
    if (static_bytes_ + dynamic_bytes() > kMaxShared)
      throw Error("more than 227 KiB of shared memory");
    return memory_.get() + add(declaration, name, bytes);
  }

  /// Throws Error if the block wrote past the end of an array (short of the next one).
  HESSCOPE_EMULATION_UNSEEN void check_guards() const {
#if !defined(HESSCOPE_EMULATION_ASAN)  // which traps at the write
    for (const Region& region : regions_) {
      const std::byte* guard = memory_.get() + region.offset + region.bytes;
      for (std::size_t i = 0; i < kGuardBytes; ++i) {
        if (guard[i] != kGuard) {
          throw Error("a write past the end of " + std::string(region.name) + " (" +
                      std::to_string(region.bytes) + " bytes)");
        }
      }
    }
#endif
  }

 private:
  struct Region {
    const void* declaration;
    const char* name;
    std::size_t offset, bytes;
  };
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };

  static constexpr std::size_t kGuardBytes = 64;
  static constexpr std::byte kGuard{0xa5};
  static constexpr std::size_t kMaxRegions = 64;
  static constexpr std::size_t kCapacity = (kMaxShared + kMaxRegions * 2 * kGuardBytes) / 256 * 256;

  HESSCOPE_EMULATION_UNSEEN std::size_t add(const void* declaration, const char* name,
                                            std::size_t bytes) {
    if (regions_.size() == kMaxRegions) throw Error("more than 63 static shared arrays");
    const std::size_t offset = used_;
    std::byte* start = memory_.get() + offset;
    std::memset(start, kPoison, bytes);
    std::memset(start + bytes, static_cast<int>(kGuard), kGuardBytes);
    used_ += (bytes + kGuardBytes + kGuardBytes - 1) / kGuardBytes * kGuardBytes;
    forbid(start + bytes, used_ - offset - bytes);
    regions_.push_back({declaration, name, offset, bytes});
    return offset;
  }

  std::unique_ptr<std::byte, Free> memory_;
  std::vector<Region> regions_;
  std::size_t used_ = 0, static_bytes_ = 0;
};

}  // namespace hesscope::emulation
