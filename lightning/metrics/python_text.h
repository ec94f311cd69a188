/// Texts as Python's str sees them (Unicode 14): the official SQuAD metric is defined by that. All
/// functions throw DataError with the byte when a text isn't valid UTF-8.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <lightning/util/export.h>

namespace lightning::metrics {

/// str.lower()
LIGHTNING_API std::string python_lower(std::string_view text);
/// str.split()
LIGHTNING_API std::vector<std::string> python_split(std::string_view text);
/// What SQuAD's answers are compared by: lower case, without the punctuation of ASCII and the words
/// a, an and the, with single spaces.
LIGHTNING_API std::string normalize_answer(std::string_view text);

}  // namespace lightning::metrics
