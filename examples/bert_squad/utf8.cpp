#include "utf8.h"

#include <cstring>

#include <lightning/util/error.h>

namespace bert_squad {
namespace {

bool is_continuation(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

// True when the next 8 bytes are all ASCII: then bytes and code points agree.
bool eight_ascii(const char* bytes) {
  uint64_t word = 0;
  std::memcpy(&word, bytes, sizeof(word));
  return (word & 0x8080808080808080U) == 0;
}

// Moves `byte` past up to `count` code points and returns how many there were.
int64_t skip(std::string_view text, size_t& byte, int64_t count) {
  int64_t done = 0;
  while (done < count && byte < text.size()) {
    if (count - done >= 8 && text.size() - byte >= 8 && eight_ascii(text.data() + byte)) {
      byte += 8;
      done += 8;
      continue;
    }
    const CodePoint code_point = decode_code_point(text.substr(byte, 4));
    if (code_point.size == 0) throw_invalid_utf8(text, byte);
    byte += code_point.size;
    ++done;
  }
  return done;
}

}  // namespace

CodePoint decode_code_point(std::string_view text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  if (lead < 0x80) return {lead, 1};
  const uint8_t size = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (size == 0 || text.size() < size) return {0, 0};
  char32_t value = lead & (0x7FU >> size);
  for (size_t i = 1; i < size; ++i) {
    if (!is_continuation(text[i])) return {0, 0};
    value = (value << 6) | (static_cast<uint8_t>(text[i]) & 0x3FU);
  }
  const bool overlong = (size == 3 && value < 0x800) || (size == 4 && value < 0x10000);
  const bool surrogate = value >= 0xD800 && value < 0xE000;
  if (overlong || surrogate || value > 0x10FFFF) return {0, 0};
  return {value, size};
}

size_t encode_code_point(char32_t value, char* out) {
  const auto tail = [value](int shift) {
    return static_cast<char>(0x80 | ((value >> shift) & 63));
  };
  if (value < 0x80) {
    out[0] = static_cast<char>(value);
    return 1;
  }
  if (value < 0x800) {
    out[0] = static_cast<char>(0xC0 | (value >> 6));
    out[1] = tail(0);
    return 2;
  }
  if (value < 0x10000) {
    out[0] = static_cast<char>(0xE0 | (value >> 12));
    out[1] = tail(6);
    out[2] = tail(0);
    return 3;
  }
  out[0] = static_cast<char>(0xF0 | (value >> 18));
  out[1] = tail(12);
  out[2] = tail(6);
  out[3] = tail(0);
  return 4;
}

size_t find_invalid_utf8(std::string_view text) {
  size_t byte = 0;
  while (byte < text.size()) {
    if (text.size() - byte >= 8 && eight_ascii(text.data() + byte)) {
      byte += 8;
      continue;
    }
    const CodePoint code_point = decode_code_point(text.substr(byte, 4));
    if (code_point.size == 0) return byte;
    byte += code_point.size;
  }
  return std::string_view::npos;
}

int64_t code_point_count(std::string_view text) {
  size_t byte = 0;
  return skip(text, byte, INT64_MAX);
}

size_t byte_index(std::string_view text, int64_t index) {
  size_t byte = 0;
  const int64_t found = index < 0 ? 0 : skip(text, byte, index);
  LIGHTNING_CHECK(found == index, DataError, "text: code point ", index,
                  " was requested, expected 0 to ", code_point_count(text), ".");
  return byte;
}

std::string_view substr_code_points(std::string_view text, int64_t begin, int64_t end) {
  LIGHTNING_CHECK(begin <= end, DataError, "text: code points [", begin, ", ", end,
                  ") were requested, expected begin <= end.");
  const size_t first = byte_index(text, begin);
  const std::string_view rest = text.substr(first);
  size_t size = 0;
  const int64_t found = skip(rest, size, end - begin);
  LIGHTNING_CHECK(found == end - begin, DataError, "text: code points [", begin, ", ", end,
                  ") were requested, expected at most ", begin + found, ".");
  return rest.substr(0, size);
}

void throw_invalid_utf8(std::string_view text, size_t position) {
  static const char* digits = "0123456789abcdef";
  const auto byte = static_cast<uint8_t>(text[position]);
  throw lightning::DataError(lightning::detail::concat(
      "text: byte ", position, " (0x", digits[byte >> 4], digits[byte & 15],
      ") is not valid UTF-8, expected UTF-8 text. HINT: convert the text to UTF-8."));
}

}  // namespace bert_squad
