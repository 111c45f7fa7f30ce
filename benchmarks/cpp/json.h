#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hesscope::bench {

/// A JSON string, quoted and escaped.
std::string json_string(std::string_view text);

/// 17 digits, so that a float64 survives; null where JSON has no number.
std::string json_number(double value);

/// A matrix of `rows` rows, row-major, as an array of arrays.
std::string json_matrix(const std::vector<double>& values, std::size_t rows);

/// Collects the members of an object in order.
class JsonObject {
 public:
  JsonObject& raw(std::string_view name, std::string_view json);
  JsonObject& add(std::string_view name, std::string_view text) {
    return raw(name, json_string(text));
  }
  JsonObject& add(std::string_view name, double value) { return raw(name, json_number(value)); }

  std::string str() const { return "{" + members_ + "}"; }

 private:
  std::string members_;
};

/// The members of an array, already JSON.
std::string json_array(const std::vector<std::string>& members);

}  // namespace hesscope::bench
