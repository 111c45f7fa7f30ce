#pragma once

#include <sstream>
#include <stdexcept>

namespace hesscope {

class Error : public std::runtime_error {
  using std::runtime_error::runtime_error;
};
class ShapeError : public Error {
  using Error::Error;
};
class ValueError : public Error {
  using Error::Error;
};
class DTypeError : public Error {
  using Error::Error;
};
class DeviceError : public Error {
  using Error::Error;
};
class WorkspaceError : public Error {
  using Error::Error;
};
class NotCompiled : public Error {
  using Error::Error;
};
class CudaError : public Error {
  using Error::Error;
};

template <typename E, typename... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw E(text.str());
}

}  // namespace hesscope

#define HESSCOPE_CHECK(ErrorType, condition, ...) \
  do {                                            \
    if (!(condition)) [[unlikely]]                \
      ::hesscope::fail<ErrorType>(__VA_ARGS__);   \
  } while (false)
