#include <charconv>
#include <cmath>
#include <fstream>
#include <string_view>

#include "hesscope/error.h"
#include "hesscope/sparse_matrix.h"

namespace hesscope {
namespace {

struct Header {
  bool pattern = false, symmetric = false;
};

std::string lower(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

/// Lines of the file and their numbers, and words of the line at hand.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path), file_(path) {
    HESSCOPE_CHECK(ValueError, file_.good(), path, ": cannot be read");
  }

  bool next_line() {
    if (!std::getline(file_, line_)) return false;
    ++number_;
    rest_ = line_;
    return true;
  }

  /// Skips comments and blank lines.
  bool next_data_line() {
    while (next_line()) {
      skip_blanks();
      if (!rest_.empty() && rest_[0] != '%') return true;
    }
    HESSCOPE_CHECK(ValueError, file_.eof(), path_, ":", number_ + 1, ": cannot be read");
    return false;
  }

  std::string word() {
    skip_blanks();
    std::size_t length = 0;
    while (length < rest_.size() && !blank(rest_[length])) ++length;
    std::string text(rest_.substr(0, length));
    rest_.remove_prefix(length);
    return text;
  }

  index_t integer(const char* what, index_t low, index_t high) {
    const std::string text = word();
    index_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
      error_here(what, " must be a whole number from ", low, " to ", high, ", got '", text, "'");
    }
    return value;
  }

  double real() {
    const std::string text = word();
    const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
    double value = 0;
    const auto [end, error] = std::from_chars(begin, text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
      error_here("the value must be a finite number, got '", text, "'");
    }
    return value;
  }

  void end_of_line() {
    if (const std::string more = word(); !more.empty()) {
      error_here("nothing must follow, got '", more, "'");
    }
  }

  template <typename... Parts>
  [[noreturn]] void error_here(const Parts&... parts) const {
    fail<ValueError>(path_, ":", number_, ": ", parts...);
  }

 private:
  static bool blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }
  void skip_blanks() {
    while (!rest_.empty() && blank(rest_[0])) rest_.remove_prefix(1);
  }

  std::string path_;
  std::ifstream file_;
  std::string line_;
  std::string_view rest_;
  index_t number_ = 0;
};

Header read_header(Reader& reader) {
  if (!reader.next_line() || lower(reader.word()) != "%%matrixmarket") {
    reader.error_here("a Matrix Market file must begin with %%MatrixMarket");
  }
  const std::string object = lower(reader.word()), format = lower(reader.word());
  const std::string field = lower(reader.word()), symmetry = lower(reader.word());
  if (object != "matrix" || format != "coordinate") {
    reader.error_here("the file must hold 'matrix coordinate', got '", object, " ", format, "'");
  }
  if (field != "real" && field != "double" && field != "integer" && field != "pattern") {
    reader.error_here("the values must be real, integer or pattern, got '", field, "'");
  }
  if (symmetry != "general" && symmetry != "symmetric") {
    reader.error_here("the matrix must be general or symmetric, got '", symmetry, "'");
  }
  reader.end_of_line();
  return {.pattern = field == "pattern", .symmetric = symmetry == "symmetric"};
}

}  // namespace

SparseMatrix read_matrix_market(const std::string& path) {
  constexpr index_t kMost = index_t{1} << 40;
  Reader reader(path);
  const Header header = read_header(reader);
  if (!reader.next_data_line()) reader.error_here("the line of sizes is missing");
  const index_t rows = reader.integer("the number of rows", 1, kMost);
  const index_t cols = reader.integer("the number of columns", 1, kMost);
  const index_t count = reader.integer("the number of entries", 0, kMost);
  reader.end_of_line();
  if (header.symmetric && rows != cols) reader.error_here("a symmetric matrix must be square");

  std::vector<Entry> entries;
  for (index_t e = 0; e < count; ++e) {
    if (!reader.next_data_line())
      reader.error_here("the file ends after ", e, " of ", count, " entries");
    const index_t row = reader.integer("the row", 1, rows) - 1;
    const index_t column = reader.integer("the column", 1, cols) - 1;
    const double value = header.pattern ? 1 : reader.real();
    reader.end_of_line();
    entries.push_back({row, column, value});
    if (header.symmetric && row != column) entries.push_back({column, row, value});
  }
  if (reader.next_data_line())
    reader.error_here("there are more than the ", count, " entries announced");
  return from_entries(rows, cols, entries);
}

}  // namespace hesscope
