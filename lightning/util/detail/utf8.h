/// Characters of UTF-8.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <lightning/util/export.h>

namespace lightning::detail {

struct CodePoint {
  char32_t value = 0;
  size_t size = 0;  // in bytes, 1 to 4; 0: the bytes are no character
};

/// The character at the front of a text that isn't empty. Cut-off and overlong forms, surrogates
/// and values above U+10FFFF are none (table 3-7 of the Unicode standard).
LIGHTNING_API CodePoint decode_code_point(std::string_view text);
/// `value`: a character, as decode_code_point() gives it.
LIGHTNING_API void append_code_point(std::string& text, char32_t value);

}  // namespace lightning::detail
