#include <lightning/util/state_dict.h>

#include <algorithm>

namespace lightning {
namespace {

bool lies_under(std::string_view name, std::string_view prefix) {
  return name.size() > prefix.size() && name.substr(0, prefix.size()) == prefix &&
         name[prefix.size()] == '/';
}

}  // namespace

void StateDict::set(std::string_view name, Value value) {
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& entry) { return entry.first == name; });
  if (found != entries_.end()) {
    found->second = std::move(value);
  } else {
    entries_.emplace_back(std::string(name), std::move(value));
  }
}

void StateDict::set(std::string_view name, const StateDict& nested) {
  for (const auto& [key, value] : nested.entries_) set(std::string(name) + "/" + key, value);
}

bool StateDict::contains(std::string_view name) const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const Entry& entry) { return entry.first == name; });
}

bool StateDict::contains_nested(std::string_view name) const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const Entry& entry) { return lies_under(entry.first, name); });
}

StateDict StateDict::nested(std::string_view name) const {
  StateDict result;
  for (const auto& [key, value] : entries_) {
    if (lies_under(key, name)) result.entries_.emplace_back(key.substr(name.size() + 1), value);
  }
  return result;
}

std::vector<std::string> StateDict::top_level_names() const {
  std::vector<std::string> names;
  for (const auto& [key, value] : entries_) {
    std::string first = key.substr(0, key.find('/'));
    if (std::find(names.begin(), names.end(), first) == names.end()) names.push_back(first);
  }
  return names;
}

const StateDict::Value& StateDict::at(std::string_view name) const {
  for (const auto& [key, value] : entries_) {
    if (key == name) return value;
  }
  std::string available;
  for (const auto& [key, value] : entries_) available += (available.empty() ? "" : ", ") + key;
  throw CheckpointError(detail::concat("StateDict: no entry \"", name, "\". Available: ",
                                       available.empty() ? "nothing" : available, "."));
}

void StateDict::throw_wrong_type(std::string_view name) const {
  static const char* const kTypes[] = {"bool",           "int64",         "double",
                                       "string",         "tensor",        "list of int64",
                                       "list of double", "list of string"};
  throw CheckpointError(
      format("StateDict: entry \"{}\" holds a {}, but a different type was requested.", name,
             kTypes[at(name).index()]));
}

}  // namespace lightning
