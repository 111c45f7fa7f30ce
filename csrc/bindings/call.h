#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <string>

#include "bindings/tensor_caster.h"
#include "hesscope/context.h"

namespace hesscope {

/// How Python says where an op runs. Built once per call in python/hesscope/_ops.
struct Call {
  std::string backend = "auto";  // auto | reference | cpu | cuda; auto follows the tensors' device
  std::uintptr_t stream = 0;
  int num_threads = 1;

  /// The context for tensors on this device.
  Context context(const Device& device, const std::optional<TensorView>& workspace = {}) const;
};

void bind_call(pybind11::module_& m);
void bind_errors(pybind11::module_& m);

}  // namespace hesscope
