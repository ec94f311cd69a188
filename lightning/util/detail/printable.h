/// Texts of foreign files in messages.
#pragma once

#include <string>
#include <string_view>

#include <lightning/util/export.h>

namespace lightning::detail {

/// `text` as UTF-8: bytes that aren't, and NUL, as \xff. For everything that goes to the terminal,
/// to log files or into a file that must be UTF-8.
LIGHTNING_API std::string printable(std::string_view text);
/// Whether printable() would leave it as it is.
LIGHTNING_API bool is_printable(std::string_view text);

}  // namespace lightning::detail
