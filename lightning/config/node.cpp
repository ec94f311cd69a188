#include <lightning/config/node.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <lightning/util/detail/strings.h>
#include <lightning/util/error.h>

namespace lightning::config {
namespace {

/// The first part of a dotted path and what follows it (without the dot).
std::pair<std::string_view, std::string_view> split_path(std::string_view dotted) {
  const size_t dot = dotted.find('.');
  if (dot == std::string_view::npos) return {dotted, {}};
  return {dotted.substr(0, dot), dotted.substr(dot + 1)};
}

/// The item of a list that a part of a path names. `dotted` is the whole path, for the message.
ConfigNode& item_at(ConfigNode& list, std::string_view part, std::string_view dotted,
                    const Source& source) {
  const auto index = parse_number<size_t>(part);
  LIGHTNING_CHECK(index && *index < list.items().size(), ConfigError, source.to_string(), ": \"",
                  dotted, "\" leads into a list of ", list.items().size(),
                  list.items().size() == 1 ? " item" : " items", ", expected an index below ",
                  list.items().size(), " instead of \"", part, "\"");
  return list.items()[*index];
}

/// The last part of the class that `node` names: of its class_path, or of a name alone.
std::optional<std::string_view> class_of(const ConfigNode& node) {
  const bool is_name = node.kind() == ConfigNode::Kind::kScalar;
  const ConfigNode* class_path = is_name ? &node : node.find("class_path");
  if (class_path == nullptr) return std::nullopt;
  const std::string_view text = class_path->text();
  return text.substr(text.find_last_of(".:") + 1);  // npos + 1 is 0
}

}  // namespace

std::string Source::to_string() const {
  if (origin.empty()) return "config";
  return line > 0 ? origin + ":" + std::to_string(line) : origin;
}

ConfigNode ConfigNode::scalar(std::string text, Source source) {
  ConfigNode node;
  node.kind_ = Kind::kScalar;
  node.text_ = std::move(text);
  node.source_ = std::move(source);
  return node;
}

ConfigNode ConfigNode::list(std::vector<ConfigNode> items, Source source) {
  ConfigNode node;
  node.kind_ = Kind::kList;
  node.items_ = std::move(items);
  node.source_ = std::move(source);
  return node;
}

ConfigNode ConfigNode::map(std::vector<MapEntry> entries, Source source) {
  ConfigNode node;
  node.kind_ = Kind::kMap;
  node.entries_ = std::move(entries);
  node.source_ = std::move(source);
  return node;
}

ConfigNode ConfigNode::null(Source source) {
  ConfigNode node;
  node.source_ = std::move(source);
  return node;
}

const ConfigNode* ConfigNode::find(std::string_view key) const {
  for (const auto& [name, value] : entries_) {
    if (name == key) return &value;
  }
  return nullptr;
}

ConfigNode* ConfigNode::find(std::string_view key) {
  return const_cast<ConfigNode*>(std::as_const(*this).find(key));
}

const ConfigNode* ConfigNode::find_path(std::string_view dotted) const {
  const auto [part, rest] = split_path(dotted);
  const ConfigNode* child = nullptr;
  if (kind_ == Kind::kList) {
    const auto index = parse_number<size_t>(part);
    if (index && *index < items_.size()) child = &items_[*index];
  } else {
    child = find(part);
  }
  return child == nullptr || rest.empty() ? child : child->find_path(rest);
}

void ConfigNode::set(std::string_view key, ConfigNode value) {
  LIGHTNING_CHECK(kind_ == Kind::kMap || kind_ == Kind::kNull, ConfigError, source_.to_string(),
                  ": can't set \"", key, "\" here, expected a map");
  kind_ = Kind::kMap;
  if (ConfigNode* old = find(key)) {
    *old = std::move(value);
  } else {
    entries_.emplace_back(std::string(key), std::move(value));
  }
}

void ConfigNode::set_path(std::string_view dotted, ConfigNode value) {
  LIGHTNING_CHECK(std::count(dotted.begin(), dotted.end(), '.') < static_cast<int64_t>(kDeepest),
                  ConfigError, value.source().to_string().substr(0, 80),
                  "...: the key has more than ", kDeepest, " parts");
  ConfigNode* node = this;
  std::string_view rest = dotted;
  while (true) {
    const auto [part, tail] = split_path(rest);
    if (node->kind_ == Kind::kScalar && (part == "class_path" || part == "init_args")) {
      *node = map({{"class_path", *node}}, node->source_);
    }
    if (node->kind_ == Kind::kList) {
      node = &item_at(*node, part, dotted, value.source());
    } else {
      const std::string_view so_far = dotted.substr(0, dotted.size() - rest.size());
      LIGHTNING_CHECK(node->kind_ != Kind::kScalar, ConfigError, value.source().to_string(),
                      ": can't set \"", dotted, "\" because \"",
                      so_far.substr(0, so_far.empty() ? 0 : so_far.size() - 1), "\" is \"",
                      node->text_, "\", expected a map");
      ConfigNode* child = node->find(part);
      if (child == nullptr) {
        node->set(part, null(value.source()));
        child = node->find(part);
      }
      node = child;
    }
    if (tail.empty()) break;
    rest = tail;
  }
  *node = std::move(value);
}

ConfigNode ConfigNode::take(std::string_view key) {
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->first != key) continue;
    ConfigNode value = std::move(entry->second);
    entries_.erase(entry);
    return value;
  }
  return {};
}

void ConfigNode::merge(const ConfigNode& over) {
  const auto old_class = class_of(*this);
  const auto new_class = class_of(over);
  const bool class_changes = old_class && new_class && *old_class != *new_class;
  if (kind_ == Kind::kScalar && !new_class && over.find("init_args") != nullptr) {
    *this = map({{"class_path", *this}}, source_);
  }
  // A map with more of the class than its name stays.
  if (kind_ == Kind::kMap && over.kind_ == Kind::kScalar && old_class && !class_changes) return;
  if (kind_ != Kind::kMap || over.kind_ != Kind::kMap || class_changes) {
    *this = over;
    return;
  }
  for (const auto& [key, value] : over.entries_) {
    if (ConfigNode* old = find(key)) {
      old->merge(value);
    } else {
      entries_.emplace_back(key, value);
    }
  }
}

bool ConfigNode::operator==(const ConfigNode& other) const {
  return kind_ == other.kind_ && text_ == other.text_ && quoted_ == other.quoted_ &&
         items_ == other.items_ && entries_ == other.entries_;
}

}  // namespace lightning::config
