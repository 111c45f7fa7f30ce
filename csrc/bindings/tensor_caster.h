#pragma once

#include <pybind11/pybind11.h>

#include "hesscope/view.h"

namespace hesscope {

/// Borrow any object that speaks DLPack (torch, NumPy, CuPy, JAX). `owner` keeps the memory alive
/// for the length of a call. False if the object does not speak it; throws TypeError for a tensor
/// that the core cannot describe.
bool borrow_tensor(pybind11::handle source, TensorView& view, pybind11::object& owner);

}  // namespace hesscope

namespace pybind11::detail {

template <>
struct type_caster<hesscope::TensorView> {
  PYBIND11_TYPE_CASTER(hesscope::TensorView, const_name("typing.Any"));

  bool load(handle source, bool) { return hesscope::borrow_tensor(source, value, owner_); }

 private:
  object owner_;
};

}  // namespace pybind11::detail
