#include <cmath>
#include <cstdio>

#include "hesscope/json.h"

namespace hesscope {

std::string json_string(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
      quoted += escape;
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string json_number(double value) {
  if (!std::isfinite(value)) return "null";
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.17g", value);
  return digits;
}

std::string json_matrix(const std::vector<double>& values, std::size_t rows) {
  std::vector<std::string> lines;
  const std::size_t columns = rows == 0 ? 0 : values.size() / rows;
  for (std::size_t r = 0; r < rows; ++r) {
    std::vector<std::string> entries;
    for (std::size_t j = 0; j < columns; ++j) {
      entries.push_back(json_number(values[r * columns + j]));
    }
    lines.push_back(json_array(entries));
  }
  return json_array(lines);
}

JsonObject& JsonObject::raw(std::string_view name, std::string_view json) {
  if (!members_.empty()) members_ += ", ";
  members_.append(json_string(name)).append(": ").append(json);
  return *this;
}

std::string json_array(const std::vector<std::string>& members) {
  std::string text = "[";
  for (std::size_t i = 0; i < members.size(); ++i)
    text.append(i == 0 ? "" : ", ").append(members[i]);
  return text + "]";
}

}  // namespace hesscope
