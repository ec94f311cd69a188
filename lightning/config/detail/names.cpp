#include <lightning/config/detail/names.h>

#include <algorithm>
#include <cctype>

namespace lightning::config {
namespace {

/// Lower case, '-' as '_': differences that don't count.
std::string fold(std::string_view name) {
  std::string folded(name);
  for (char& c : folded) {
    c = c == '-' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return folded;
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before_previous, previous(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) previous[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({previous[j] + 1, row[j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_previous[j - 2] + 1);
      }
    }
    before_previous = previous;
    previous = row;
  }
  return previous[b.size()];
}

std::string_view last_part(std::string_view dotted) {
  return dotted.substr(dotted.rfind('.') + 1);  // npos + 1 is 0
}

}  // namespace

std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates) {
  const std::string wanted = fold(name);
  // A third of the letters may be wrong, but never so many that any short name fits.
  const size_t limit = std::clamp<size_t>(last_part(wanted).size() / 3, 1, 3);
  const std::string* nearest = nullptr;
  size_t smallest = limit + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(wanted, fold(candidate));
    if (distance < smallest) {
      smallest = distance;
      nearest = &candidate;
    }
  }
  if (nearest != nullptr) return *nearest;

  const std::string last(last_part(wanted));
  for (const std::string& candidate : candidates) {
    if (last_part(fold(candidate)) == last) return candidate;
  }
  if (last.size() < 4) return {};
  const std::string group = wanted.substr(0, wanted.size() - last.size());
  for (const std::string& candidate : candidates) {
    const std::string folded = fold(candidate);
    const std::string_view other = last_part(folded);
    const bool same_group =
        std::string_view(folded).substr(0, folded.size() - other.size()) == group;
    const bool contains = other.find(last) != std::string_view::npos ||
                          (other.size() >= 4 && last.find(other) != std::string::npos);
    if (same_group && contains) return candidate;
  }
  return {};
}

std::string name_hint(std::string_view name, std::string_view what,
                      const std::vector<std::string>& candidates) {
  if (const std::string nearest = nearest_name(name, candidates); !nearest.empty()) {
    return " HINT: did you mean \"" + nearest + "\"?";
  }
  if (candidates.empty()) return " HINT: there are no " + std::string(what) + ".";
  std::string hint = " HINT: the " + std::string(what) + " are ";
  for (size_t i = 0; i < candidates.size(); ++i) hint += (i > 0 ? ", " : "") + candidates[i];
  return hint + ".";
}

}  // namespace lightning::config
