#include <lightning/config/class_spec.h>

#include <lightning/config/yaml.h>
#include <lightning/util/error.h>

namespace lightning::config {
namespace {

bool is_none(const ConfigNode& node) {
  if (node.is_null()) return true;
  return node.kind() == ConfigNode::Kind::kScalar && (node.text().empty() || node.text() == "none");
}

/// A name alone as the map that it stands for; other nodes as they are.
ConfigNode normalized(ConfigNode node) {
  if (is_none(node)) return ConfigNode::null(node.source());
  if (node.kind() != ConfigNode::Kind::kScalar) return node;
  const Source source = node.source();
  return ConfigNode::map({{"class_path", std::move(node)}}, source);
}

}  // namespace

ClassSpec::ClassSpec(std::string_view text)
    : node_(normalized(text.starts_with('{') || text == "null"
                           ? parse_yaml(text, "class")
                           : ConfigNode::scalar(std::string(text)))) {}

ClassSpec::ClassSpec(ConfigNode node, std::string path)
    : node_(normalized(std::move(node))), path_(std::move(path)) {}

ClassSpec::ClassSpec(const RegistryBase& registry, std::string_view name, ConfigNode init_args,
                     const std::type_info& options)
    : ClassSpec(ConfigNode::scalar(std::string(name))) {
  const RegistryBase::Entry* entry = registry.find_entry(node_);
  if (entry == nullptr) registry.resolve(node_, {});  // throws, with the known classes
  LIGHTNING_CHECK(
      *entry->options == options, ConfigError, registry.kind(), " \"", name,
      "\": the options are of a different type from those the class is registered with. HINT: pass "
      "the options struct that its add() names.");
  node_.set("init_args", std::move(init_args));
}

std::string ClassSpec::class_path() const {
  const ConfigNode* class_path = node_.find("class_path");
  return class_path == nullptr ? "" : class_path->text();
}

std::string ClassSpec::to_text() const { return to_flow_yaml(node_); }

void ClassSpec::read_from(const ConfigNode& node, std::string_view path,
                          const RegistryBase& registry) {
  const ConfigNode given = normalized(node);
  if (given.is_null()) {
    *this = ClassSpec(given, std::string(path));
    return;
  }
  ConfigNode merged = node_;
  merged.merge(given);
  merged.set_source(given.source());
  *this = ClassSpec(registry.resolve(merged, path), std::string(path));
  complete_ = true;
}

ConfigNode ClassSpec::resolved(const RegistryBase& registry) const {
  return empty() || complete_ ? node_ : registry.resolve(node_, path_);
}

}  // namespace lightning::config
