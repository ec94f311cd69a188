/// What several schedules check and say.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/util/error.h>

namespace lightning::optim {

/// part / whole, of a whole of 0 as of 1.
inline double fraction(int64_t part, int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(whole < 1 ? 1 : whole);
}

/// Throws ConfigError unless `value` >= `least`.
inline void require_at_least(std::string_view schedule, std::string_view option, int64_t value,
                             int64_t least) {
  LIGHTNING_CHECK(value >= least, ConfigError, schedule, ": ", option, " is ", value, ", expected ",
                  least, " or more. HINT: it counts steps of the schedule.");
}

/// The warning for a schedule that ends after `total` steps (its option `option`) in a longer or
/// shorter fit; empty: it fits. `if_longer`: what becomes of the rate in a longer fit; empty: that
/// is how the schedule is meant.
std::string length_mismatch(const std::string& schedule, std::string_view option, int64_t total,
                            int64_t intervals, std::string_view if_longer);

/// "[3, 7]".
std::string list_text(const std::vector<int64_t>& values);

}  // namespace lightning::optim
