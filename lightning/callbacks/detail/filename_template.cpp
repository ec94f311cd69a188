#include <lightning/callbacks/detail/filename_template.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>

#include <lightning/util/error.h>

namespace lightning {
namespace {

/// Whether `format` is [0-9]*[.[0-9]*](d|e|f|g): nothing else may reach snprintf.
bool is_number_format(std::string_view format) {
  if (format.empty() || std::string_view("defg").find(format.back()) == std::string_view::npos) {
    return false;
  }
  format.remove_suffix(1);
  return std::count(format.begin(), format.end(), '.') <= 1 && format.size() <= 6 &&
         format.find_first_not_of("0123456789.") == std::string_view::npos;
}

std::string format_number(double value, std::string_view format) {
  char text[64];
  if (format.empty()) {
    const bool whole = std::floor(value) == value && std::abs(value) < 1e15;
    std::snprintf(text, sizeof(text), whole ? "%.0f" : "%.6g", value);
  } else if (format.back() == 'd') {
    std::string spec = "%";
    spec.append(format.substr(0, format.size() - 1)).append("lld");
    std::snprintf(text, sizeof(text), spec.c_str(), static_cast<long long>(std::llround(value)));
  } else {
    std::string spec = "%";
    spec.append(format);
    std::snprintf(text, sizeof(text), spec.c_str(), value);
  }
  return text;
}

/// Calls `literal` and `field(name, format)` for the parts, in order.
void for_each_part(std::string_view text, const std::function<void(std::string_view)>& literal,
                   const std::function<void(std::string_view, std::string_view)>& field) {
  const std::string_view whole = text;
  while (!text.empty()) {
    const size_t open = text.find_first_of("{}");
    literal(text.substr(0, open));
    if (open == std::string_view::npos) return;
    const size_t close = text.find('}', open);
    LIGHTNING_CHECK(text[open] == '{' && close != std::string_view::npos, ConfigError,
                    "ModelCheckpoint: filename is \"", whole,
                    "\", which has an unmatched brace. HINT: write {name} or {name:.2f}.");
    const std::string_view inside = text.substr(open + 1, close - open - 1);
    const size_t colon = inside.find(':');
    const std::string_view format =
        colon == std::string_view::npos ? std::string_view() : inside.substr(colon + 1);
    LIGHTNING_CHECK(colon == std::string_view::npos || is_number_format(format), ConfigError,
                    "ModelCheckpoint: filename is \"", whole, "\" with the format \"", format,
                    "\", expected one such as .2f or 03d.");
    field(inside.substr(0, colon), format);
    text.remove_prefix(close + 1);
  }
}

}  // namespace

void check_filename_template(std::string_view text) {
  LIGHTNING_CHECK(!text.empty(), ConfigError,
                  "ModelCheckpoint: filename is empty, expected a template. HINT: omit it for "
                  "\"{epoch}-{step}\".");
  LIGHTNING_CHECK(text.front() != '.' && text != "last" && text != "best", ConfigError,
                  "ModelCheckpoint: filename is \"", text,
                  "\", expected a name that doesn't begin with a dot and isn't that of the links "
                  "last.ckpt and best.ckpt. HINT: choose a different one, such as "
                  "\"{epoch}-{step}\".");
  for_each_part(
      text,
      [&](std::string_view literal) {
        LIGHTNING_CHECK(literal.find('/') == std::string_view::npos, ConfigError,
                        "ModelCheckpoint: filename is \"", text,
                        "\" with a slash, expected the name of a file. HINT: give the folder by "
                        "dirpath.");
      },
      [](std::string_view, std::string_view) {});
}

std::vector<std::string> names_in_template(std::string_view text) {
  std::vector<std::string> names;
  for_each_part(
      text, [](std::string_view) {},
      [&](std::string_view name, std::string_view) { names.emplace_back(name); });
  return names;
}

std::string format_filename(std::string_view text, const FilenameValues& values, bool with_names) {
  std::string result;
  for_each_part(
      text, [&](std::string_view literal) { result += literal; },
      [&](std::string_view name, std::string_view number_format) {
        const auto found = values.find(name);
        if (found == values.end()) {
          std::string known;
          for (const auto& [key, value] : values) known += (known.empty() ? "" : ", ") + key;
          throw ConfigError(detail::concat("ModelCheckpoint: filename asks for \"", name,
                                           "\", which was not logged. Available: ", known, "."));
        }
        if (with_names) result += detail::concat(name, "=");
        result += found->second ? format_number(*found->second, number_format) : "none";
      });
  // A metric such as "val/loss" must not make a folder.
  std::replace(result.begin(), result.end(), '/', '_');
  return result;
}

}  // namespace lightning
