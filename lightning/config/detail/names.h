/// Names that users get wrong: finding the one they meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <lightning/util/export.h>

namespace lightning::config {

/// The candidate most like `name`: a few letters apart, or one containing the other; for dotted
/// names also one that ends alike. Empty when none is near.
LIGHTNING_API std::string nearest_name(std::string_view name,
                                       const std::vector<std::string>& candidates);

/// ` HINT: did you mean "nearest"?`, or ` HINT: the <what> are a, b, c.` when none is near.
LIGHTNING_API std::string name_hint(std::string_view name, std::string_view what,
                                    const std::vector<std::string>& candidates);

}  // namespace lightning::config
