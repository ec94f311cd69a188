#include <lightning/strategies/detail/replica_check.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

#include <lightning/util/detail/crc32c.h>
#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

using Lines = std::vector<std::pair<std::string, std::string>>;  // key, value

std::string hash_of(std::string_view text) {
  return concat(text.size(), ":", crc32c(text.data(), text.size()));
}

Lines parse(const std::string& description) {
  Lines lines;
  std::istringstream in(description);
  for (std::string line; std::getline(in, line);) {
    const size_t tab = line.find('\t');
    lines.emplace_back(line.substr(0, tab), line.substr(tab + 1));
  }
  return lines;
}

/// The first difference between rank 0's lines and this rank's, in words.
std::string difference(const Lines& first, const Lines& own, int64_t rank) {
  const std::map<std::string, std::string> of_first(first.begin(), first.end());
  const std::map<std::string, std::string> of_own(own.begin(), own.end());
  for (const auto& [key, value] : first) {
    const auto found = of_own.find(key);
    if (found == of_own.end()) return concat(key, " is on rank 0 but not on rank ", rank);
    if (found->second != value) {
      return concat(key, " is ", value, " on rank 0 but ", found->second, " on rank ", rank);
    }
  }
  for (const auto& [key, value] : own) {
    if (!of_first.contains(key)) return concat(key, " is on rank ", rank, " but not on rank 0");
  }
  for (size_t i = 0; i < own.size(); ++i) {
    if (own[i].first != first[i].first) {
      return concat("number ", i + 1, " is ", first[i].first, " on rank 0 but ", own[i].first,
                    " on rank ", rank);
    }
  }
  return concat("the model of rank ", rank, " differs from rank 0's");
}

}  // namespace

void check_equal_on_ranks(ControlPlane& control, const std::string& description) {
  const std::vector<std::string> hashes =
      control.all_gather("DDPStrategy: model hash", hash_of(description));
  const auto is_first = [&](const std::string& hash) { return hash == hashes.front(); };
  if (std::all_of(hashes.begin(), hashes.end(), is_first)) return;
  const std::string first = control.broadcast("DDPStrategy: model", description);
  const std::string own =
      first == description ? "" : difference(parse(first), parse(description), control.rank());
  const std::vector<std::string> all = control.all_gather("DDPStrategy: model difference", own);
  const auto found = std::find_if(all.begin(), all.end(), [](const auto& s) { return !s.empty(); });
  throw ConfigError(concat("DDPStrategy: ", *found,
                           ", expected the same on all ranks. HINT: build the model from the same "
                           "options on every rank, regardless of rank."));
}

}  // namespace lightning::detail
