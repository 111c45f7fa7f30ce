#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hesscope/tensor.h"

namespace hesscope {

/// A tensor of a file: where it is, and what.
struct StoredTensor {
  std::string name;
  DType dtype = DType::f32;
  std::vector<index_t> shape;
  index_t begin = 0, end = 0;  // bytes, from the end of the header

  index_t rows() const { return shape.empty() ? 1 : shape[0]; }
  std::string text() const;  // "weight [32, 8] float32"
};

/// A file of named tensors in the format of safetensors: the length of a header, the header in
/// JSON, and the bytes of the tensors.
///
/// The whole header is checked before anything is used: at most 100 MB, valid JSON, every tensor
/// as long as its shape says, and the tensors cover the data without a gap or an overlap, to the
/// last byte of the file. Throws ValueError naming the file.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(std::string path);

  const std::string& path() const { return path_; }
  const std::vector<StoredTensor>& tensors() const { return tensors_; }  // by name
  const std::vector<std::pair<std::string, std::string>>& metadata() const { return metadata_; }

  /// Null if there is none of this name.
  const StoredTensor* find(std::string_view name) const;

  /// The entries on the host: [] and [n] as [n], [M, ...] as [M, product of the rest].
  /// Throws ValueError if the file is shorter by now, or if a floating-point entry is not finite.
  Tensor read(const StoredTensor& tensor);

 private:
  void parse_header(std::string_view header, index_t data_bytes);
  void check_layout(index_t data_bytes) const;

  std::string path_;
  std::ifstream file_;
  index_t data_at_ = 0;
  std::vector<StoredTensor> tensors_;
  std::vector<std::pair<std::string, std::string>> metadata_;
};

/// Host tensors of float32, float64 or int64 to write, by name.
using NamedTensors = std::vector<std::pair<std::string, TensorView>>;

/// Write a file of tensors, in their order, whole or not at all: beside `path`, then renamed. A
/// file that was there before is intact if that fails. Throws ValueError naming the file.
void write_safetensors(const std::string& path,
                       const std::vector<std::pair<std::string, std::string>>& metadata,
                       const NamedTensors& tensors);

/// The bytes of the entries of a host tensor, rows without their padding.
std::vector<std::byte> packed_bytes(const TensorView& t);

}  // namespace hesscope
