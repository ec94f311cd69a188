/// Durations as text: "90s", "15min", "2h", "1d12h", "500ms", or Lightning's "DD:HH:MM:SS".
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include <lightning/util/export.h>

namespace lightning::config {

/// Nothing when the text isn't of that form, or too long to be counted.
LIGHTNING_API std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);

/// In the largest unit that divides it: 7200 s is "2h", 90 s is "90s".
LIGHTNING_API std::string duration_text(std::chrono::milliseconds duration);

}  // namespace lightning::config
