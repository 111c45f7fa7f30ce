#pragma once

#include <cstdint>

namespace hesscope {

/// Sizes and indices: 64 bits everywhere, since n * k beyond 2^31 is normal.
using index_t = std::int64_t;

enum class DType : std::uint8_t { f32, f64, bf16, i32, i64, u8 };

constexpr index_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
      return 2;
    case DType::u8:
      return 1;
  }
  return 0;
}

constexpr const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "float32";
    case DType::f64:
      return "float64";
    case DType::bf16:
      return "bfloat16";
    case DType::i32:
      return "int32";
    case DType::i64:
      return "int64";
    case DType::u8:
      return "uint8";
  }
  return "?";
}

enum class DeviceType : std::uint8_t { cpu, cuda };

struct Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;

  friend constexpr bool operator==(const Device&, const Device&) = default;
};

/// Which implementation of an op runs; `reference` is the serial oracle on CPU data.
enum class Backend : std::uint8_t { reference, cpu, cuda };

constexpr const char* name_of(Backend backend) {
  switch (backend) {
    case Backend::reference:
      return "reference";
    case Backend::cpu:
      return "cpu";
    case Backend::cuda:
      return "cuda";
  }
  return "?";
}

/// Storage only: the upper half of a float. Arithmetic happens after `to_float`.
struct bfloat16 {
  std::uint16_t bits;
};

}  // namespace hesscope
