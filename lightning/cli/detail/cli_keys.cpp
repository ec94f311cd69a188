#include <lightning/cli/detail/cli_keys.h>

#include <optional>
#include <utility>

#include <lightning/config/detail/names.h>
#include <lightning/config/registry.h>
#include <lightning/config/yaml.h>
#include <lightning/util/error.h>

namespace lightning {

using config::ConfigNode;
using config::KeyInfo;

namespace {

/// Whether `path` lies below `parent` ("trainer.max_epochs" below "trainer").
bool is_below(std::string_view path, std::string_view parent) {
  return path.size() > parent.size() && path.starts_with(parent) && path[parent.size()] == '.';
}

/// Takes `head` and the dot behind it from the front of `path`, if it begins with them.
bool take_front(std::string_view& path, std::string_view head) {
  if (!is_below(path, head)) return false;
  path.remove_prefix(head.size() + 1);
  return true;
}

/// What is known of the value at `path`, which is one of `keys` or an init_arg of a class that one
/// of them names in `config` (null: nothing is written there) or by its default.
std::optional<KeyInfo> find_info(const std::vector<KeyInfo>& keys, std::string_view path,
                                 const ConfigNode& config) {
  for (const KeyInfo& info : keys) {
    if (info.key == path) return info;
    if (info.registries.size() != 1 || !is_below(path, info.key)) continue;
    std::string_view rest = path;
    take_front(rest, info.key);
    ConfigNode spec = config::parse_yaml(info.default_value, info.key);
    if (const ConfigNode* given = config.find_path(info.key)) spec.merge(*given);
    if (spec.kind() == ConfigNode::Kind::kList) {
      const std::string index(rest.substr(0, rest.find('.')));
      const ConfigNode* item = spec.find_path(index);
      if (item == nullptr || !take_front(rest, index)) return std::nullopt;
      spec = ConfigNode(*item);
    }
    const auto* entry = info.registries.front()->find_entry(spec);
    if (entry == nullptr || !take_front(rest, "init_args")) return std::nullopt;
    const ConfigNode* init_args = spec.find("init_args");
    return find_info(entry->init_args(), rest, init_args == nullptr ? ConfigNode() : *init_args);
  }
  return std::nullopt;
}

}  // namespace

CliKeys::CliKeys(std::vector<KeyInfo> keys) : keys_(std::move(keys)) {}

CliKeys::Match CliKeys::match(std::string_view path) const {
  Match found = Match::kNone;
  for (const KeyInfo& info : keys_) {
    if (info.key == path) return Match::kKey;
    if (is_below(path, info.key)) return Match::kBelowKey;
    if (is_below(info.key, path)) found = Match::kSection;
  }
  // Sections of classes without options.
  if (path == "trainer" || path == "model" || path == "data") return Match::kSection;
  return found;
}

ConfigNode CliKeys::checked(ConfigNode layer) const {
  if (layer.is_null()) return ConfigNode::map();
  LIGHTNING_CHECK(
      layer.kind() == ConfigNode::Kind::kMap, ConfigError, layer.source().to_string(),
      ": the top level is not a map; expected keys such as \"trainer:\". HINT: put a space "
      "after each colon.");
  check(layer, "");
  return layer;
}

void CliKeys::check(ConfigNode& node, const std::string& path) const {
  std::vector<std::string> empty;
  for (auto& [name, value] : node.entries()) {
    const std::string key = config::join_path(path, name);
    const Match found = match(key);
    if (found == Match::kNone) {
      throw_unknown(value.source().to_string() + ": unknown key", "", key, path);
    }
    // Values are checked when they are read.
    if (found != Match::kSection) continue;
    if (value.is_null()) empty.push_back(name);
    check(value, key);
  }
  for (const std::string& name : empty) node.take(name);
}

void CliKeys::throw_unknown(std::string_view what, std::string_view prefix, std::string_view key,
                            std::string_view section) const {
  std::vector<std::string> all;
  std::vector<std::string> in_section;
  for (const KeyInfo& info : keys_) {
    all.push_back(info.key);
    if (!section.empty() && !is_below(info.key, section)) continue;
    const size_t start = section.empty() ? 0 : section.size() + 1;
    const std::string name = info.key.substr(start, info.key.find('.', start) - start);
    if (in_section.empty() || in_section.back() != name) in_section.push_back(name);
  }
  for (const char* name : {"trainer", "model", "data"}) all.emplace_back(name);
  const std::string nearest = config::nearest_name(key, all);
  const std::string where = section.empty() ? "keys" : "keys of " + std::string(section);
  const std::string hint = nearest.empty()
                               ? config::name_hint(key, where, in_section)
                               : detail::concat(" HINT: did you mean \"", prefix, nearest, "\"?");
  throw ConfigError(detail::concat(what, " \"", prefix, key, "\".", hint));
}

ConfigNode CliKeys::parse_value(const CommandLine::Override& override_,
                                const std::optional<KeyInfo>& info) const {
  const config::Source source{"command line (" + override_.option + ")", 0};
  const std::string& text = override_.text;
  const bool is_text = info && info->is_text;
  if (text == "null" && (!is_text || info->is_optional)) return ConfigNode::null(source);
  if (is_text || !(text.starts_with('[') || text.starts_with('{'))) {
    return ConfigNode::scalar(text, source);
  }
  ConfigNode node = config::parse_yaml(text, source.origin);
  node.set_source(source);
  return node;
}

void CliKeys::apply_overrides(const std::vector<CommandLine::Override>& overrides,
                              ConfigNode& config) const {
  for (const CommandLine::Override& each : overrides) {
    const Match found = match(each.key);
    if (found == Match::kNone) {
      const size_t dot = each.key.rfind('.');
      std::string section = dot == std::string::npos ? "" : each.key.substr(0, dot);
      if (match(section) != Match::kSection) section.clear();
      throw_unknown("command line: unknown option", "--", each.key, section);
    }
    ConfigNode value = parse_value(each, find_info(keys_, each.key, config));
    const bool is_map = value.kind() == ConfigNode::Kind::kMap;
    if (found == Match::kSection) {
      LIGHTNING_CHECK(is_map, ConfigError, value.source().to_string(), ": ", each.key, " is \"",
                      each.text, "\", expected a map of keys. HINT: write --", each.key,
                      ".KEY VALUE.");
      check(value, each.key);
    }
    if (const ConfigNode* old = config.find_path(each.key)) {
      ConfigNode merged = *old;
      merged.merge(value);
      value = std::move(merged);
    }
    config.set_path(each.key, std::move(value));
  }
}

}  // namespace lightning
