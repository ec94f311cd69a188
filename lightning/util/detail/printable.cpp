#include <lightning/util/detail/printable.h>

#include <cstddef>
#include <cstdint>

#include <lightning/util/detail/utf8.h>

namespace lightning::detail {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";

/// Where the first byte stands that printable() would change.
size_t first_fault(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t size = text[at] == '\0' ? 0 : decode_code_point(text.substr(at)).size;
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
