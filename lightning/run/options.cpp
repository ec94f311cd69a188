#include <lightning/run/options.h>

#include <algorithm>
#include <cmath>

#include <lightning/util/detail/strings.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

/// The indices of "0,1", "0," or "[0, 1]"; nothing for what is not a list.
std::optional<std::vector<int64_t>> parse_indices(std::string_view text) {
  const bool in_brackets = text.starts_with('[') && text.ends_with(']');
  if (in_brackets) text = text.substr(1, text.size() - 2);
  if (!in_brackets && text.find(',') == std::string_view::npos) return std::nullopt;
  std::vector<int64_t> indices;
  while (!trimmed(text).empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const auto index = parse_number<int64_t>(trimmed(text.substr(0, comma)));
    if (!index || *index < 0) return std::nullopt;
    indices.push_back(*index);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return indices;
}

}  // namespace

std::optional<int64_t> BatchLimit::resolve(std::optional<int64_t> available,
                                           std::string_view option) const {
  if (is_count_) return available ? std::min(count_, *available) : count_;
  if (available) {
    return static_cast<int64_t>(std::floor(fraction_ * static_cast<double>(*available)));
  }
  if (fraction_ == 0.0) return 0;
  LIGHTNING_CHECK(fraction_ == 1.0, ConfigError, "Trainer: ", option, " is ", to_text(),
                  " and the data is a stream of unknown length, expected a number of batches. "
                  "HINT: set ",
                  option, " to an integer.");
  return std::nullopt;
}

void BatchLimit::validate(std::string_view option) const {
  const bool valid = is_count_ ? count_ >= 0 : fraction_ >= 0.0 && fraction_ <= 1.0;
  LIGHTNING_CHECK(
      valid, ConfigError, "Trainer: ", option, " is ", to_text(),
      ", expected a fraction from 0.0 to 1.0 or a number of batches. HINT: use 1.0 for all.");
}

BatchLimit BatchLimit::from_text(std::string_view text) {
  if (const auto count = parse_number<int64_t>(text)) return BatchLimit(*count);
  if (const auto fraction = parse_number<double>(text)) return BatchLimit(*fraction);
  throw ConfigError("expected a fraction (0.5) or a number of batches (10)");
}

std::string BatchLimit::to_text() const {
  if (is_count_) return std::to_string(count_);
  std::string text = detail::concat(fraction_);
  // The decimal point is what makes it a share.
  return std::isfinite(fraction_) && text.find_first_of(".e") == std::string::npos ? text + ".0"
                                                                                   : text;
}

FastDevRun FastDevRun::from_text(std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  if (const auto batches = parse_number<int>(text)) return *batches;
  throw ConfigError("expected true, false or a number of batches");
}

std::string FastDevRun::to_text() const {
  if (batches_ == 0) return "false";
  return batches_ == 1 ? "true" : std::to_string(batches_);
}

Deterministic::Deterministic(std::string_view text)
    : on_(text != "false"), warns_only_(text == "warn") {
  LIGHTNING_CHECK(warns_only_ || text == "true" || text == "false", ConfigError,
                  "expected true, false or warn");
}

std::string Deterministic::to_text() const { return warns_only_ ? "warn" : on_ ? "true" : "false"; }

ActivationCheckpointing::ActivationCheckpointing(std::string_view text) {
  if (text == "none") return;
  const auto every_nth = text == "all" ? std::optional(1) : parse_number<int>(text);
  LIGHTNING_CHECK(every_nth && *every_nth > 0, ConfigError,
                  "expected none, all or a number above 0 (2: every second unit)");
  every_nth_ = *every_nth;
}

std::string ActivationCheckpointing::to_text() const {
  if (every_nth_ == 0) return "none";
  return every_nth_ == 1 ? "all" : std::to_string(every_nth_);
}

Devices::Devices(const std::vector<int64_t>& indices) : text_("[") {
  for (const int64_t index : indices) {
    text_ += detail::concat(text_.size() > 1 ? ", " : "", index);
  }
  text_ += "]";
}

Devices::Devices(std::string_view text) : text_(trimmed(text)) {
  if (const auto indices = parse_indices(text_)) *this = Devices(*indices);
}

Devices Devices::from_text(std::string_view text) {
  Devices devices(text);
  const bool valid =
      devices == "auto" || parse_number<int64_t>(devices.text_) || parse_indices(devices.text_);
  if (!valid) throw ConfigError("expected auto, a number of devices (2) or a list ([0, 1])");
  return devices;
}

}  // namespace lightning
