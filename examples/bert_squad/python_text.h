/// What the official metric does to texts in Python: str.lower(), str.split(), and the removal of
/// punctuation and articles. All texts are valid UTF-8.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bert_squad {

/// str.lower()
std::string python_lower(std::string_view text);
/// Without the 32 characters of string.punctuation.
std::string remove_ascii_punctuation(std::string_view text);
/// re.sub(r"\b(a|an|the)\b", " ", text)
std::string remove_articles(std::string_view text);
/// str.split()
std::vector<std::string> python_split(std::string_view text);

}  // namespace bert_squad
