#include <lightning/util/detail/printable.h>

#include <cstddef>
#include <cstdint>

namespace lightning::detail {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";

/// Bytes of the well-formed character at the front of a text that isn't empty (table 3-7 of the
/// Unicode standard); 0 when there is none.
size_t character_size(std::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t size = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (size == 0 || text.size() < size) return 0;
  // Overlong forms, surrogates and what is above U+10FFFF show in the second byte.
  const uint8_t first = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint8_t last = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < first || byte(1) > last) return 0;
  for (size_t i = 2; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  return size;
}

/// Where the first byte stands that printable() would change.
size_t first_fault(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t size = text[at] == '\0' ? 0 : character_size(text.substr(at));
    if (size == 0) return at;
    at += size;
  }
  return std::string_view::npos;
}

}  // namespace

bool is_printable(std::string_view text) { return first_fault(text) == std::string_view::npos; }

std::string printable(std::string_view text) {
  std::string result;
  for (;;) {
    const size_t fault = first_fault(text);
    result += text.substr(0, fault);
    if (fault == std::string_view::npos) return result;
    const auto byte = static_cast<uint8_t>(text[fault]);
    result += {'\\', 'x', kHexDigits[byte >> 4], kHexDigits[byte & 15]};
    text.remove_prefix(fault + 1);
  }
}

}  // namespace lightning::detail
