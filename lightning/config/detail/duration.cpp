#include <lightning/config/detail/duration.h>

#include <array>
#include <charconv>
#include <cstdint>

namespace lightning::config {
namespace {

struct Unit {
  std::string_view name;
  int64_t milliseconds;
};

// Largest first.
constexpr std::array kUnits{Unit{"d", 86'400'000}, Unit{"h", 3'600'000}, Unit{"min", 60'000},
                            Unit{"s", 1'000}, Unit{"ms", 1}};

/// Takes a number without sign off the front of `text`.
std::optional<int64_t> take_number(std::string_view& text) {
  if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return number;
}

/// Adds count units to `total`; false on overflow.
bool add(int64_t& total, int64_t count, int64_t unit) {
  int64_t amount = 0;
  return !__builtin_mul_overflow(count, unit, &amount) &&
         !__builtin_add_overflow(total, amount, &total);
}

std::optional<std::chrono::milliseconds> parse_colons(std::string_view text) {
  int64_t total = 0;
  for (size_t i = 0; i < 4; ++i) {  // days, hours, minutes, seconds
    const auto number = take_number(text);
    if (!number || !add(total, *number, kUnits[i].milliseconds)) return std::nullopt;
    if (i == 3) break;
    if (text.empty() || text.front() != ':') return std::nullopt;
    text.remove_prefix(1);
  }
  if (!text.empty()) return std::nullopt;
  return std::chrono::milliseconds(total);
}

}  // namespace

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
  if (text.find(':') != std::string_view::npos) return parse_colons(text);
  if (text.empty()) return std::nullopt;
  int64_t total = 0;
  while (!text.empty()) {
    const auto number = take_number(text);
    if (!number) return std::nullopt;
    const std::string_view name = text.substr(0, text.find_first_of("0123456789"));
    const Unit* unit = nullptr;
    for (const Unit& candidate : kUnits) {
      if (candidate.name == name) unit = &candidate;
    }
    if (unit == nullptr || !add(total, *number, unit->milliseconds)) return std::nullopt;
    text.remove_prefix(name.size());
  }
  return std::chrono::milliseconds(total);
}

std::string duration_text(std::chrono::milliseconds duration) {
  const int64_t count = duration.count();
  if (count == 0) return "0s";
  for (const Unit& unit : kUnits) {
    if (count % unit.milliseconds == 0) {
      return std::to_string(count / unit.milliseconds) + std::string(unit.name);
    }
  }
  return {};  // not reached: the last unit divides everything
}

}  // namespace lightning::config
