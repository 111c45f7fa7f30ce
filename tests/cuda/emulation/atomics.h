#pragma once

/// Atomics, relaxed as on the device. Integers only: a sum of floats by atomics depends on
/// scheduling, and the house rules forbid it, so it does not compile here.
#include <atomic>
#include <concepts>
#include <type_traits>

#include "fence.h"

namespace hesscope::emulation {

template <std::integral T>
std::atomic_ref<T> atomic(T* address) {
  note_atomic(address);
  return std::atomic_ref<T>(*address);
}

/// *address = change(*address), atomically; returns the old value.
template <std::integral T, typename Change>
T update_atomically(T* address, Change change) {
  const std::atomic_ref<T> target = atomic(address);
  T old = target.load(std::memory_order_relaxed);
  while (!target.compare_exchange_weak(old, change(old), std::memory_order_relaxed)) {
  }
  return old;
}

}  // namespace hesscope::emulation

template <std::integral T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return hesscope::emulation::atomic(address).fetch_add(value, std::memory_order_relaxed);
}
template <std::integral T>
T atomicSub(T* address, std::type_identity_t<T> value) {
  return hesscope::emulation::atomic(address).fetch_sub(value, std::memory_order_relaxed);
}
template <std::integral T>
T atomicAnd(T* address, std::type_identity_t<T> value) {
  return hesscope::emulation::atomic(address).fetch_and(value, std::memory_order_relaxed);
}
template <std::integral T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  return hesscope::emulation::atomic(address).fetch_or(value, std::memory_order_relaxed);
}
template <std::integral T>
T atomicXor(T* address, std::type_identity_t<T> value) {
  return hesscope::emulation::atomic(address).fetch_xor(value, std::memory_order_relaxed);
}
template <std::integral T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return hesscope::emulation::atomic(address).exchange(value, std::memory_order_relaxed);
}
template <std::integral T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  hesscope::emulation::atomic(address).compare_exchange_strong(expected, value,
                                                               std::memory_order_relaxed);
  return expected;
}
template <std::integral T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  return hesscope::emulation::update_atomically(address,
                                                [=](T old) { return value < old ? value : old; });
}
template <std::integral T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  return hesscope::emulation::update_atomically(address,
                                                [=](T old) { return old < value ? value : old; });
}
/// Counts to `last`, then starts at 0 again.
inline unsigned atomicInc(unsigned* address, unsigned last) {
  return hesscope::emulation::update_atomically(
      address, [=](unsigned old) { return old >= last ? 0u : old + 1; });
}
