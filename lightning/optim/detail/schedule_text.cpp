#include <lightning/optim/detail/schedule_text.h>

namespace lightning::optim {

std::string length_mismatch(const std::string& schedule, std::string_view option, int64_t total,
                            int64_t intervals, std::string_view if_longer) {
  if (total == intervals || (total < intervals && if_longer.empty())) return {};
  return detail::concat(schedule, ": it is made for ", total, " steps and the fit has ", intervals,
                        total > intervals
                            ? std::string_view(", so it ends before the last rate is reached")
                            : if_longer,
                        ". HINT: set ", option, " to ", intervals, ".");
}

std::string list_text(const std::vector<int64_t>& values) {
  std::string text;
  for (const int64_t value : values) {
    text += detail::concat(text.empty() ? "" : ", ", value);
  }
  return "[" + text + "]";
}

}  // namespace lightning::optim
