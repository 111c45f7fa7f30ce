#include "bindings/call.h"

#include "hesscope/error.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {
namespace {

Backend to_backend(const std::string& name, const Device& device) {
  if (name == "auto") return device.type == DeviceType::cuda ? Backend::cuda : Backend::cpu;
  if (name == "reference") return Backend::reference;
  if (name == "cpu") return Backend::cpu;
  if (name == "cuda") return Backend::cuda;
  fail<ValueError>("backend must be auto, reference, cpu or cuda, got ", name);
}

}  // namespace

Context Call::context(const Device& device, const std::optional<TensorView>& workspace) const {
  Context ctx{.backend = to_backend(backend, device),
              .device = device,
              .stream = reinterpret_cast<void*>(stream),
              .workspace = {},
              .num_threads = num_threads};
  if (workspace) {
    ctx.workspace = {static_cast<std::byte*>(workspace->data),
                     static_cast<std::size_t>(workspace->shape[0])};
  }
  return ctx;
}

void bind_call(py::module_& m) {
  py::class_<Call>(m, "Call", "Where an op runs.")
      .def(py::init<std::string, std::uintptr_t, int>(), "backend"_a = "auto", "stream"_a = 0,
           "num_threads"_a = 1);
}

}  // namespace hesscope
