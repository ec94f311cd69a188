#include "added_tokens.h"

#include <algorithm>
#include <utility>

namespace bert_squad {
namespace {

// Unicode's White_Space in UTF-8.
constexpr std::string_view kSpaces[] = {
    " ",      "\t",     "\n",     "\v",     "\f",     "\r",     "\u0085", "\u00a0", "\u1680",
    "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006", "\u2007", "\u2008",
    "\u2009", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"};

size_t space_at_end(std::string_view text) {
  for (const std::string_view space : kSpaces) {
    if (text.ends_with(space)) return space.size();
  }
  return 0;
}

std::vector<std::string> texts_of(const std::vector<AddedTokenFinder::Pattern>& patterns) {
  std::vector<std::string> texts;
  texts.reserve(patterns.size());
  for (const auto& pattern : patterns) texts.push_back(pattern.text);
  return texts;
}

}  // namespace

size_t space_at_begin(std::string_view text) {
  for (const std::string_view space : kSpaces) {
    if (text.starts_with(space)) return space.size();
  }
  return 0;
}

AddedTokenFinder::AddedTokenFinder(std::vector<Pattern> patterns)
    : patterns_(std::move(patterns)), trie_(texts_of(patterns_)) {
  for (const Pattern& pattern : patterns_) is_first_[static_cast<uint8_t>(pattern.text[0])] = true;
  if (std::count(is_first_.begin(), is_first_.end(), true) == 1) {
    only_first_ =
        static_cast<int>(std::find(is_first_.begin(), is_first_.end(), true) - is_first_.begin());
  }
}

size_t AddedTokenFinder::next_candidate(std::string_view text, size_t from) const {
  if (only_first_ >= 0)
    return std::min(text.find(static_cast<char>(only_first_), from), text.size());
  while (from < text.size() && !is_first_[static_cast<uint8_t>(text[from])]) ++from;
  return from;
}

AddedTokenFinder::Match AddedTokenFinder::find(std::string_view text, size_t from,
                                               size_t free) const {
  const Match none = {nullptr, text.size(), text.size(), text.size()};
  if (patterns_.empty()) return none;
  for (size_t at = next_candidate(text, from); at < text.size();
       at = next_candidate(text, at + 1)) {
    const VocabTrie::Match found = trie_.longest(VocabTrie::kRoot, text.substr(at));
    if (found.id < 0) continue;
    const Pattern& pattern = patterns_[static_cast<size_t>(found.id)];
    Match match = {&pattern, at, at + found.size, at + found.size};
    if (pattern.lstrip) {
      while (const size_t size = space_at_end(text.substr(0, match.begin))) match.begin -= size;
      match.begin = std::min(std::max(match.begin, free), match.next);
    }
    if (pattern.rstrip) {
      while (const size_t size = space_at_begin(text.substr(match.end))) match.end += size;
    }
    return match;
  }
  return none;
}

}  // namespace bert_squad
