#include <lightning/cluster/detail/node_list.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include <lightning/util/detail/strings.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

// More than any cluster has; a typo must not fill the memory.
constexpr size_t kMostHosts = 1'000'000;
constexpr size_t kMostDigits = 18;

[[noreturn]] void refuse_nodes(std::string_view text, std::string_view fact) {
  throw ConfigError(detail::concat("node list: '", text, "' ", fact,
                                   ", expected host names such as node[1-3,5],login. HINT: compare "
                                   "with the output of scontrol show hostnames"));
}

/// Cuts at commas outside brackets.
std::vector<std::string_view> split_names(std::string_view text) {
  std::vector<std::string_view> names;
  size_t begin = 0;
  bool inside = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '[') {
      if (inside) refuse_nodes(text, "has a bracket inside a bracket");
      inside = true;
    } else if (text[i] == ']') {
      if (!inside) refuse_nodes(text, "closes a bracket that isn't open");
      inside = false;
    } else if (text[i] == ',' && !inside) {
      names.push_back(text.substr(begin, i - begin));
      begin = i + 1;
    }
  }
  if (inside) refuse_nodes(text, "has a bracket that isn't closed");
  names.push_back(text.substr(begin));
  return names;
}

std::optional<uint64_t> parse_digits(std::string_view digits) {
  if (digits.size() > kMostDigits) return std::nullopt;
  return parse_number<uint64_t>(digits);
}

std::string padded(uint64_t number, size_t width) {
  std::string digits = std::to_string(number);
  if (digits.size() < width) digits.insert(0, width - digits.size(), '0');
  return digits;
}

/// "1-3,05" without its brackets: {"1", "2", "3", "05"}.
std::vector<std::string> expand_bracket(std::string_view text, std::string_view bracket) {
  std::vector<std::string> values;
  while (true) {
    const size_t comma = bracket.find(',');
    const std::string_view range = bracket.substr(0, comma);
    const size_t dash = range.find('-');
    const std::string_view first_digits = range.substr(0, dash);
    const auto first = parse_digits(first_digits);
    const auto last = dash == std::string_view::npos ? first : parse_digits(range.substr(dash + 1));
    if (!first || !last) {
      refuse_nodes(text,
                   detail::concat("has '", range, "' in a bracket, which is not a number range"));
    }
    if (*last < *first) refuse_nodes(text, detail::concat("has the falling range '", range, "'"));
    if (*last - *first >= kMostHosts) refuse_nodes(text, "has more than a million hosts");
    for (uint64_t number = *first; number <= *last; ++number) {
      values.push_back(padded(number, first_digits.size()));
    }
    if (comma == std::string_view::npos) return values;
    bracket.remove_prefix(comma + 1);
  }
}

/// One name with any number of brackets.
std::vector<std::string> expand_name(std::string_view text, std::string_view name) {
  if (name.empty()) refuse_nodes(text, "has an empty host name");
  std::vector<std::string> hosts{""};
  while (!name.empty()) {
    const size_t open = name.find('[');
    for (std::string& host : hosts) host += name.substr(0, open);
    if (open == std::string_view::npos) break;
    const size_t close = name.find(']', open);
    const auto values = expand_bracket(text, name.substr(open + 1, close - open - 1));
    if (values.size() * hosts.size() > kMostHosts) {
      refuse_nodes(text, "has more than a million hosts");
    }
    std::vector<std::string> longer;
    longer.reserve(hosts.size() * values.size());
    for (const std::string& host : hosts) {
      for (const std::string& value : values) longer.push_back(host + value);
    }
    hosts = std::move(longer);
    name.remove_prefix(close + 1);
  }
  return hosts;
}

}  // namespace

std::vector<std::string> expand_node_list(std::string_view text) {
  if (std::any_of(text.begin(), text.end(), [](char c) { return c <= ' ' || c == 127; })) {
    refuse_nodes(text, "has a blank or control character");
  }
  std::vector<std::string> hosts;
  for (const std::string_view name : split_names(text)) {
    auto some = expand_name(text, name);
    if (hosts.size() + some.size() > kMostHosts) {
      refuse_nodes(text, "has more than a million hosts");
    }
    std::move(some.begin(), some.end(), std::back_inserter(hosts));
  }
  return hosts;
}

std::vector<int64_t> parse_tasks_per_node(std::string_view text) {
  const auto refuse = [text] {
    throw ConfigError(detail::concat("tasks per node: '", text,
                                     "' is malformed, expected numbers such as 2(x3),1. HINT: "
                                     "start the program with srun, which sets this"));
  };
  std::vector<int64_t> tasks;
  std::string_view rest = text;
  while (true) {
    const size_t comma = rest.find(',');
    std::string_view item = rest.substr(0, comma);
    uint64_t nodes = 1;
    if (const size_t open = item.find("(x"); open != std::string_view::npos) {
      const auto count = item.ends_with(')')
                             ? parse_digits(item.substr(open + 2, item.size() - open - 3))
                             : std::nullopt;
      if (!count || *count == 0) refuse();
      nodes = *count;
      item = item.substr(0, open);
    }
    const auto number = parse_digits(item);
    if (!number || tasks.size() + nodes > kMostHosts) refuse();
    tasks.insert(tasks.end(), nodes, static_cast<int64_t>(*number));
    if (comma == std::string_view::npos) return tasks;
    rest.remove_prefix(comma + 1);
  }
}

}  // namespace lightning
