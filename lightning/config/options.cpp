#include <lightning/config/options.h>

#include <algorithm>

#include <lightning/config/detail/names.h>
#include <lightning/config/registry.h>
#include <lightning/config/yaml.h>

namespace lightning::config {

std::string join_path(std::string_view path, std::string_view key) {
  std::string joined(path);
  if (!joined.empty()) joined += '.';
  return joined.append(key);
}

void throw_unknown_key(const ConfigNode& value, std::string_view key, std::string_view path,
                       const std::vector<std::string>& known) {
  std::vector<std::string> full_names;
  for (const std::string& name : known) full_names.push_back(join_path(path, name));
  const std::string full_key = join_path(path, key);
  const bool is_near = !nearest_name(full_key, full_names).empty();
  const std::string what = path.empty() ? "keys" : "keys of " + std::string(path);
  throw ConfigError(lightning::detail::concat(
      value.source().to_string(), ": unknown key \"", full_key, "\".",
      is_near ? name_hint(full_key, what, full_names) : name_hint(key, what, known)));
}

namespace {

/// A resolved class without the init_args that are at their defaults: what a person would write.
ConfigNode shortened(ConfigNode value, const RegistryBase& registry) {
  for (ConfigNode& item : value.items()) item = shortened(std::move(item), registry);
  const ConfigNode* class_path = value.find("class_path");
  const ConfigNode* init_args = value.find("init_args");
  if (class_path == nullptr || init_args == nullptr) return value;
  const ConfigNode defaults = registry.resolve(*class_path, {});
  ConfigNode changed = ConfigNode::map();
  for (const auto& [key, argument] : init_args->entries()) {
    const ConfigNode* usual = defaults.find("init_args")->find(key);
    if (usual == nullptr || *usual != argument) changed.set(key, argument);
  }
  if (changed.entries().empty()) return *class_path;
  value.set("init_args", std::move(changed));
  return value;
}

}  // namespace

namespace detail {

std::vector<KeyInfo> describe(const StructInfo& info, const ConfigNode& defaults,
                              std::string_view path) {
  std::vector<KeyInfo> keys;
  for (const FieldInfo& field : info.fields) {
    const std::string key = join_path(path, field.name);
    const ConfigNode* value = defaults.find(field.name);
    // An optional struct that isn't there is one key; its fields have no values to show.
    if (field.type->structure != nullptr && !value->is_null()) {
      for (KeyInfo& nested : describe(*field.type->structure, *value, key)) {
        keys.push_back(std::move(nested));
      }
      continue;
    }
    std::vector<const RegistryBase*> registries;
    for (const auto registry : field.type->registries) {
      const bool known = std::count(registries.begin(), registries.end(), &registry()) > 0;
      if (!known) registries.push_back(&registry());
    }
    const bool names_class = registries.size() == 1;
    const ConfigNode shown = names_class ? shortened(*value, *registries.front()) : *value;
    keys.push_back({key, field.type->name, to_flow_yaml(shown), field.help, field.type->is_text,
                    field.type->is_optional, std::move(registries)});
  }
  return keys;
}

}  // namespace detail
}  // namespace lightning::config
