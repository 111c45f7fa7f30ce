#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>

#include "hesscope/error.h"
#include "hesscope/json.h"
#include "hesscope/safetensors.h"

namespace hesscope {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr index_t kLengthBytes = 8, kLargestHeader = 100'000'000;

std::optional<DType> dtype_named(std::string_view name) {
  if (name == "F32") return DType::f32;
  if (name == "F64") return DType::f64;
  if (name == "BF16") return DType::bf16;
  if (name == "I32") return DType::i32;
  if (name == "I64") return DType::i64;
  if (name == "U8") return DType::u8;
  return std::nullopt;
}

/// Whole numbers of an array, or none if it is anything else.
std::optional<std::vector<index_t>> integers(const JsonValue* value) {
  const JsonValue::Array* array = value == nullptr ? nullptr : value->array();
  if (array == nullptr) return std::nullopt;
  std::vector<index_t> numbers;
  for (const JsonValue& entry : *array) {
    if (entry.integer() == nullptr) return std::nullopt;
    numbers.push_back(*entry.integer());
  }
  return numbers;
}

/// Bytes of a tensor; -1 where they are more than a file can have.
index_t bytes_of(DType dtype, const std::vector<index_t>& shape) {
  index_t bytes = size_of(dtype);
  for (const index_t length : shape) {
    if (length > 0 && bytes > std::numeric_limits<index_t>::max() / length) return -1;
    bytes *= length;
  }
  return bytes;
}

template <typename T>
void check_finite(const std::string& where, const TensorView& t) {
  const index_t cols = t.shape[t.ndim - 1], rows = t.ndim == 1 ? 1 : t.shape[0];
  for (index_t r = 0; r < rows; ++r) {
    const T* row = static_cast<const T*>(t.data) + r * (t.ndim == 1 ? 0 : t.stride[0]);
    for (index_t i = 0; i < cols; ++i) {
      HESSCOPE_CHECK(ValueError, std::isfinite(row[i]), where, " must be finite, but entry ",
                     r * cols + i, " is ", row[i]);
    }
  }
}

}  // namespace

std::string StoredTensor::text() const {
  std::string text = name + " [";
  for (std::size_t d = 0; d < shape.size(); ++d) {
    text.append(d == 0 ? "" : ", ").append(std::to_string(shape[d]));
  }
  return text.append("] ").append(name_of(dtype));
}

SafetensorsFile::SafetensorsFile(std::string path)
    : path_(std::move(path)), file_(path_, std::ios::binary | std::ios::ate) {
  const auto size = static_cast<index_t>(file_.tellg());
  HESSCOPE_CHECK(ValueError, file_.good() && size >= 0, path_, ": cannot be read");
  HESSCOPE_CHECK(ValueError, size >= kLengthBytes, path_, ": is no safetensors file: it has ", size,
                 " bytes");
  std::uint64_t length = 0;
  file_.seekg(0);
  file_.read(reinterpret_cast<char*>(&length), kLengthBytes);
  HESSCOPE_CHECK(ValueError, file_.good(), path_, ": cannot be read");
  HESSCOPE_CHECK(ValueError, length <= static_cast<std::uint64_t>(size - kLengthBytes), path_,
                 ": is cut off or no safetensors file: it names a header of ", length,
                 " bytes and has ", size);
  HESSCOPE_CHECK(ValueError, length <= static_cast<std::uint64_t>(kLargestHeader), path_,
                 ": the header must have at most ", kLargestHeader, " bytes, got ", length);
  std::string header(length, ' ');
  file_.read(header.data(), static_cast<std::streamsize>(length));
  HESSCOPE_CHECK(ValueError, file_.good(), path_, ": cannot be read");
  data_at_ = kLengthBytes + static_cast<index_t>(length);
  parse_header(header, size - data_at_);
}

void SafetensorsFile::parse_header(std::string_view header, index_t data_bytes) {
  JsonValue whole;
  try {
    whole = parse_json(header);
  } catch (const ValueError& error) {
    fail<ValueError>(path_, ": the header must be an object that names tensors: ", error.what());
  }
  HESSCOPE_CHECK(ValueError, whole.object() != nullptr, path_,
                 ": the header must be an object that names tensors");
  for (const auto& [name, value] : *whole.object()) {
    const JsonValue::Object* members = value.object();
    HESSCOPE_CHECK(ValueError, members != nullptr, path_, ": the entry ", json_string(name),
                   " of the header must be an object");
    if (name == "__metadata__") {
      for (const auto& [key, text] : *members) {
        HESSCOPE_CHECK(ValueError, text.string() != nullptr, path_, ": the metadata ",
                       json_string(key), " must be a string");
        metadata_.emplace_back(key, *text.string());
      }
      continue;
    }
    const auto member = [&](std::string_view key) -> const JsonValue* {
      for (const auto& [other, entry] : *members) {
        if (other == key) return &entry;
      }
      return nullptr;
    };
    const JsonValue* type = member("dtype");
    const auto shape = integers(member("shape")), offsets = integers(member("data_offsets"));
    const bool complete = members->size() == 3 && type != nullptr && type->string() != nullptr &&
                          shape && offsets && offsets->size() == 2;
    HESSCOPE_CHECK(ValueError, complete, path_, ": the tensor ", json_string(name),
                   " must have a dtype, a shape and two data_offsets, and nothing else");
    const auto dtype = dtype_named(*type->string());
    HESSCOPE_CHECK(ValueError, dtype, path_, ": the tensor ", json_string(name),
                   " must be F32, F64, BF16, I32, I64 or U8, got ", json_string(*type->string()));
    tensors_.push_back({name, *dtype, *shape, (*offsets)[0], (*offsets)[1]});
    const StoredTensor& t = tensors_.back();
    const bool inside = t.begin <= t.end && t.end <= data_bytes;
    HESSCOPE_CHECK(ValueError, inside, path_, ": the tensor ", json_string(name),
                   " must lie in the ", data_bytes, " bytes of data, got [", t.begin, ", ", t.end,
                   "); the file is cut off or damaged");
    HESSCOPE_CHECK(ValueError, bytes_of(t.dtype, t.shape) == t.end - t.begin, path_,
                   ": the tensor ", t.text(), " cannot have ", t.end - t.begin, " bytes");
  }
  std::sort(tensors_.begin(), tensors_.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  check_layout(data_bytes);
}

void SafetensorsFile::check_layout(index_t data_bytes) const {
  std::vector<std::array<index_t, 2>> parts;
  for (const StoredTensor& t : tensors_) parts.push_back({t.begin, t.end});
  std::sort(parts.begin(), parts.end());
  index_t at = 0;
  for (const auto& [begin, end] : parts) {
    HESSCOPE_CHECK(ValueError, begin == at, path_, ": the tensors ",
                   begin < at ? "overlap at" : "leave a gap before", " byte ", begin,
                   " of the data");
    at = end;
  }
  HESSCOPE_CHECK(ValueError, at == data_bytes, path_, ": the tensors end at byte ", at, " of ",
                 data_bytes, " of the data");
}

const StoredTensor* SafetensorsFile::find(std::string_view name) const {
  for (const StoredTensor& t : tensors_) {
    if (t.name == name) return &t;
  }
  return nullptr;
}

Tensor SafetensorsFile::read(const StoredTensor& tensor) {
  const index_t rows = tensor.rows(),
                elements = (tensor.end - tensor.begin) / size_of(tensor.dtype);
  const bool flat = tensor.shape.size() < 2;
  const index_t columns = flat || rows == 0 ? elements : elements / rows;
  Tensor t =
      flat ? Tensor({}, tensor.dtype, {elements}) : Tensor({}, tensor.dtype, {rows, columns});
  if (elements == 0) return t;  // of which there may be any number of empty rows
  file_.clear();
  file_.seekg(data_at_ + tensor.begin);
  for (index_t r = 0; r < (flat ? 1 : rows); ++r) {
    const index_t offset = flat ? 0 : r * t.view().stride[0];
    char* row = static_cast<char*>(t.view().data) + offset * size_of(tensor.dtype);
    file_.read(row, columns * size_of(tensor.dtype));
  }
  HESSCOPE_CHECK(ValueError, file_.good(), path_, ": ", tensor.name, " cannot be read");
  const std::string where = path_ + ": " + tensor.name;
  if (tensor.dtype == DType::f32) check_finite<float>(where, t);
  if (tensor.dtype == DType::f64) check_finite<double>(where, t);
  return t;
}

}  // namespace hesscope
