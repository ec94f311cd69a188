/// File names from metrics: "{epoch}-{val_loss:.2f}" gives "epoch=3-val_loss=0.41".
#pragma once

#include <string>
#include <string_view>

#include <lightning/core/trainer_context.h>
#include <lightning/util/export.h>

namespace lightning {

/// Throws ConfigError for a brace without its partner or an unknown format.
LIGHTNING_API void check_filename_template(std::string_view text);
/// Throws ConfigError that lists the names there are when the template asks for another one.
/// Formats are printf's for one number: "{epoch:03d}", "{val_loss:.2f}".
LIGHTNING_API std::string format_filename(std::string_view text, const MetricMap& values);

}  // namespace lightning
