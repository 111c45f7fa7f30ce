#pragma once

/// A kernel is declared once; the linker reports a backend that forgot it.
///
/// The CPU backend is compiled three times, for x86-64-v2, v3 and v4 (elsewhere once, as v2); each
/// copy lives in a namespace of its own and `cpu` picks one at run time (backends/cpu/dispatch.h).
#define HESSCOPE_DECLARE_IN_EVERY_BACKEND(...) \
  namespace reference {                        \
  __VA_ARGS__                                  \
  }                                            \
  namespace cpu {                              \
  __VA_ARGS__                                  \
  }                                            \
  namespace cpu_v2 {                           \
  __VA_ARGS__                                  \
  }                                            \
  namespace cpu_v3 {                           \
  __VA_ARGS__                                  \
  }                                            \
  namespace cpu_v4 {                           \
  __VA_ARGS__                                  \
  }                                            \
  namespace cuda {                             \
  __VA_ARGS__                                  \
  }
