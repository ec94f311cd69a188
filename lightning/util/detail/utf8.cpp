#include <lightning/util/detail/utf8.h>

#include <cstdint>

namespace lightning::detail {

CodePoint decode_code_point(std::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t size = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (size == 0 || text.size() < size) return {};
  // Overlong forms, surrogates and what is above U+10FFFF show in the second byte.
  const uint8_t first = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint8_t last = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < first || byte(1) > last) return {};
  char32_t value = lead & (0x7FU >> size);
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    value = value << 6 | (byte(i) & 0x3FU);
  }
  return {value, size};
}

void append_code_point(std::string& text, char32_t value) {
  if (value < 0x80) {
    text += static_cast<char>(value);
    return;
  }
  const int tails = value < 0x800 ? 1 : value < 0x10000 ? 2 : 3;
  static constexpr uint8_t kLead[] = {0, 0xC0, 0xE0, 0xF0};
  text += static_cast<char>(kLead[tails] | value >> (6 * tails));
  for (int i = tails - 1; i >= 0; --i) {
    text += static_cast<char>(0x80U | (value >> (6 * i) & 0x3FU));
  }
}

}  // namespace lightning::detail
