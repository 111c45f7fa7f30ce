#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "hesscope/error.h"
#include "hesscope/json.h"
#include "hesscope/safetensors.h"

namespace hesscope {
namespace {

std::string_view stored_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "F32";
    case DType::f64:
      return "F64";
    case DType::i64:
      return "I64";
    default:
      fail<DTypeError>("write_safetensors: tensors must be float32, float64 or int64, got ",
                       name_of(dtype));
  }
}

std::filesystem::path beside(const std::filesystem::path& target) {
  std::string name = ".";
  name.append(target.filename().string()).append(".").append(std::to_string(getpid()));
  return target.parent_path() / name.append(".partial");
}

/// A file that is removed again unless it is kept.
class PartialFile {
 public:
  explicit PartialFile(const std::string& target)
      : target_(target),
        path_(beside(target_)),
        descriptor_(open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
    if (descriptor_ < 0) refuse();
  }
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;
  ~PartialFile() {
    if (descriptor_ >= 0) close(descriptor_);
    if (!kept_) unlink(path_.c_str());
  }

  void write(const void* data, std::size_t bytes) {
    const char* at = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t written = ::write(descriptor_, at, bytes);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) refuse();
      at += written;
      bytes -= static_cast<std::size_t>(written);
    }
  }

  /// On the disk first, then under its name: never half of it.
  void keep() {
    if (fsync(descriptor_) != 0) refuse();
    const int closed = close(descriptor_);
    descriptor_ = -1;
    if (closed != 0 || std::rename(path_.c_str(), target_.c_str()) != 0) refuse();
    kept_ = true;
  }

 private:
  [[noreturn]] void refuse() const {
    fail<ValueError>(target_.string(), ": cannot be written (", std::strerror(errno),
                     "); a file that was there before is intact");
  }

  std::filesystem::path target_, path_;
  int descriptor_;
  bool kept_ = false;
};

/// A link keeps pointing where it points.
std::string resolved(const std::string& path) {
  std::error_code failed;
  const std::filesystem::path real = std::filesystem::weakly_canonical(path, failed);
  return failed ? path : real.string();
}

std::string header_of(const std::vector<std::pair<std::string, std::string>>& metadata,
                      const NamedTensors& tensors) {
  JsonObject texts, header;
  for (const auto& [name, text] : metadata) texts.add(name, text);
  header.raw("__metadata__", texts.str());
  std::size_t at = 0;
  for (const auto& [name, view] : tensors) {
    std::vector<std::string> shape;
    for (int d = 0; d < view.ndim; ++d) shape.push_back(std::to_string(view.shape[d]));
    const std::size_t end = at + packed_bytes(view).size();
    JsonObject entry;
    entry.add("dtype", stored_name(view.dtype)).raw("shape", json_array(shape));
    entry.raw("data_offsets", json_array({std::to_string(at), std::to_string(end)}));
    header.raw(name, entry.str());
    at = end;
  }
  std::string text = header.str();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begins at a multiple of 8
  return text;
}

}  // namespace

std::vector<std::byte> packed_bytes(const TensorView& t) {
  if (t.ndim == 1) {
    const auto* data = static_cast<const std::byte*>(t.data);
    return {data, data + t.shape[0] * size_of(t.dtype)};
  }
  std::vector<std::byte> bytes;
  for (index_t i = 0; i < t.shape[0]; ++i) {
    const std::vector<std::byte> row = packed_bytes(select(t, 0, i));
    bytes.insert(bytes.end(), row.begin(), row.end());
  }
  return bytes;
}

void write_safetensors(const std::string& path,
                       const std::vector<std::pair<std::string, std::string>>& metadata,
                       const NamedTensors& tensors) {
  const std::string header = header_of(metadata, tensors);
  const std::uint64_t length = header.size();
  PartialFile file(resolved(path));
  file.write(&length, sizeof length);
  file.write(header.data(), header.size());
  for (const auto& [name, view] : tensors) {
    const std::vector<std::byte> bytes = packed_bytes(view);
    file.write(bytes.data(), bytes.size());
  }
  file.keep();
}

}  // namespace hesscope
