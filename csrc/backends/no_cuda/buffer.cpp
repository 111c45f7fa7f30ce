#include "backends/no_cuda/stub.h"
#include "kernels/buffer_kernels.h"

namespace hesscope::cuda {

void* allocate(Device, std::size_t) { HESSCOPE_STUB("Buffer"); }

void deallocate(Device, void*) noexcept {}

void copy_bytes(Device, void*, const void*, std::size_t, void*, bool) {
  HESSCOPE_STUB("copy_bytes");
}

void synchronize(Device, void*) { HESSCOPE_STUB("synchronize"); }

}  // namespace hesscope::cuda
