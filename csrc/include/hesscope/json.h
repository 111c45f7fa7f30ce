#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "hesscope/types.h"

namespace hesscope {

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

/// A value of the part of JSON that headers of tensor files are written in: objects, arrays,
/// strings and whole numbers from 0 to 2^63 - 1.
struct JsonValue {
  using Array = std::vector<JsonValue>;
  using Object = std::vector<std::pair<std::string, JsonValue>>;  // names differ

  std::variant<index_t, std::string, Array, Object> value;

  /// Null where the value is of another kind.
  const index_t* integer() const { return std::get_if<index_t>(&value); }
  const std::string* string() const { return std::get_if<std::string>(&value); }
  const Array* array() const { return std::get_if<Array>(&value); }
  const Object* object() const { return std::get_if<Object>(&value); }
};

/// Parse a text (RFC 8259), of which nothing may be left. Strict: UTF-8 that is valid, no name
/// twice in an object, at most 8 levels. Fractions, signs, true, false and null are refused. Throws
/// ValueError naming the byte, counted from 0.
JsonValue parse_json(std::string_view text);

}  // namespace hesscope
