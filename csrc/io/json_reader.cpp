#include <algorithm>
#include <charconv>

#include "hesscope/error.h"
#include "hesscope/json.h"

namespace hesscope {
namespace {

constexpr int kDeepest = 8;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  JsonValue whole() {
    JsonValue value = any(0);
    skip_blanks();
    if (at_ < text_.size()) error("nothing must follow the value");
    return value;
  }

 private:
  template <typename... Parts>
  [[noreturn]] void error(const Parts&... parts) const {
    fail<ValueError>("JSON, byte ", at_, ": ", parts...);
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void skip_blanks() {
    const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; };
    while (at_ < text_.size() && blank(text_[at_])) ++at_;
  }

  bool take(char c) {
    skip_blanks();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  void expect(char c) {
    if (!take(c)) error("'", c, "' is missing");
  }

  JsonValue any(int depth) {
    if (depth > kDeepest) error("there are more than ", kDeepest, " levels");
    skip_blanks();
    const char c = peek();
    if (c == '{') return {object(depth)};
    if (c == '[') return {array(depth)};
    if (c == '"') return {string()};
    if (c >= '0' && c <= '9') return {integer()};
    error("an object, an array, a string or a whole number must stand here");
  }

  JsonValue::Object object(int depth) {
    JsonValue::Object members;
    expect('{');
    if (take('}')) return members;
    do {
      skip_blanks();
      if (peek() != '"') error("a name in quotes must stand here");
      std::string name = string();
      expect(':');
      members.emplace_back(std::move(name), any(depth + 1));
    } while (take(','));
    expect('}');
    refuse_repeated(members);
    return members;
  }

  void refuse_repeated(const JsonValue::Object& members) const {
    std::vector<std::string_view> names;
    for (const auto& [name, value] : members) names.push_back(name);
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) error("the name ", json_string(*twice), " stands twice in an object");
  }

  JsonValue::Array array(int depth) {
    JsonValue::Array entries;
    expect('[');
    if (take(']')) return entries;
    do {
      entries.push_back(any(depth + 1));
    } while (take(','));
    expect(']');
    return entries;
  }

  index_t integer() {
    index_t value = 0;
    const char *begin = text_.data() + at_, *end = text_.data() + text_.size();
    const auto [stop, status] = std::from_chars(begin, end, value);
    if (status != std::errc()) error("the number must be below 2^63");
    if (*begin == '0' && stop != begin + 1) error("a number must not begin with 0");
    at_ += static_cast<std::size_t>(stop - begin);
    if (const char c = peek(); c == '.' || c == 'e' || c == 'E') error("the number must be whole");
    return value;
  }

  std::string string() {
    std::string value;
    expect('"');
    while (true) {
      if (at_ == text_.size()) error("the string does not end");
      const auto c = static_cast<unsigned char>(text_[at_]);
      if (c == '"') break;
      if (c < 0x20) error("a control character must be escaped");
      if (c == '\\') {
        escape(value);
      } else {
        character(value);
      }
    }
    ++at_;
    return value;
  }

  /// One character in UTF-8: no byte out of place, no longer form than needed, no surrogate.
  void character(std::string& value) {
    const auto byte = [&](std::size_t i) {
      return at_ + i < text_.size() ? static_cast<unsigned char>(text_[at_ + i]) : 0U;
    };
    const unsigned first = byte(0);
    const std::size_t length = first < 0x80                    ? 1
                               : first >= 0xc2 && first < 0xe0 ? 2
                               : first >= 0xe0 && first < 0xf0 ? 3
                               : first >= 0xf0 && first < 0xf5 ? 4
                                                               : 0;
    bool valid = length > 0;
    for (std::size_t i = 1; i < length; ++i) valid = valid && (byte(i) & 0xc0U) == 0x80U;
    if (length == 3) valid = valid && !(first == 0xe0 && byte(1) < 0xa0);
    if (length == 3) valid = valid && !(first == 0xed && byte(1) >= 0xa0);
    if (length == 4) valid = valid && !(first == 0xf0 && byte(1) < 0x90);
    if (length == 4) valid = valid && !(first == 0xf4 && byte(1) >= 0x90);
    if (!valid) error("the text must be UTF-8");
    value.append(text_.substr(at_, length));
    at_ += length;
  }

  void escape(std::string& value) {
    constexpr std::string_view kNames = "\"\\/bfnrt", kValues = "\"\\/\b\f\n\r\t";
    ++at_;
    const char name = peek();
    if (name == 'u') {
      ++at_;
      unsigned code = four_digits();
      if (code >= 0xdc00 && code < 0xe000) error("half of a surrogate pair stands alone");
      if (code >= 0xd800 && code < 0xdc00) {
        if (text_.substr(at_, 2) != "\\u") error("half of a surrogate pair stands alone");
        at_ += 2;
        const unsigned low = four_digits();
        if (low < 0xdc00 || low >= 0xe000) error("half of a surrogate pair stands alone");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
      }
      append_utf8(value, code);
      return;
    }
    const std::size_t which = at_ < text_.size() ? kNames.find(name) : std::string_view::npos;
    if (which == std::string_view::npos) error("there is no such escape");
    value += kValues[which];
    ++at_;
  }

  unsigned four_digits() {
    const std::string_view digits = text_.substr(std::min(at_, text_.size()), 4);
    unsigned code = 0;
    const char* end = digits.data() + digits.size();
    const auto [stop, status] = std::from_chars(digits.data(), end, code, 16);
    if (digits.size() < 4 || status != std::errc() || stop != end) {
      error("\\u must be followed by four hexadecimal digits");
    }
    at_ += 4;
    return code;
  }

  static void append_utf8(std::string& value, unsigned code) {
    const auto add = [&](unsigned byte) { value += static_cast<char>(byte); };
    if (code < 0x80) return add(code);
    if (code < 0x800) {
      add(0xc0 | (code >> 6));
    } else if (code < 0x10000) {
      add(0xe0 | (code >> 12));
      add(0x80 | ((code >> 6) & 0x3f));
    } else {
      add(0xf0 | (code >> 18));
      add(0x80 | ((code >> 12) & 0x3f));
      add(0x80 | ((code >> 6) & 0x3f));
    }
    add(0x80 | (code & 0x3f));
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

JsonValue parse_json(std::string_view text) { return Parser(text).whole(); }

}  // namespace hesscope
