/// File names from metrics: "{epoch}-{val_loss:.2f}" gives "epoch=3-val_loss=0.41".
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/util/export.h>

namespace lightning {

/// By name; nothing: the metric is known and has no value now.
using FilenameValues = std::map<std::string, std::optional<double>, std::less<>>;

/// Throws ConfigError for a brace without its partner or an unknown format.
LIGHTNING_API void check_filename_template(std::string_view text);
/// The names that a template asks for.
LIGHTNING_API std::vector<std::string> names_in_template(std::string_view text);
/// Throws ConfigError that lists the names there are when the template asks for another one.
/// Formats are printf's for one number: "{epoch:03d}", "{val_loss:.2f}"; without a value "none".
/// `with_names`: "epoch=3" rather than "3".
LIGHTNING_API std::string format_filename(std::string_view text, const FilenameValues& values,
                                          bool with_names = true);

}  // namespace lightning
