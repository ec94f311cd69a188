#include <lightning/config/registry.h>

#include <lightning/config/detail/names.h>
#include <lightning/util/error.h>

namespace lightning::config {
namespace {

constexpr std::string_view kClassPath = "class_path";
constexpr std::string_view kInitArgs = "init_args";

/// "EarlyStopping" of "lightning.pytorch.callbacks.EarlyStopping" or "lightning::EarlyStopping".
std::string_view last_part(std::string_view class_path) {
  return class_path.substr(class_path.find_last_of(".:") + 1);  // npos + 1 is 0
}

/// One class within the init_args of another.
class Nesting {
 public:
  Nesting(const ConfigNode& spec, std::string_view path) {
    constexpr int kDeepest = 64;
    LIGHTNING_CHECK(depth_ < kDeepest, ConfigError, spec.source().to_string(), ": ",
                    path.substr(0, 60), "... nests classes more than ", kDeepest,
                    " deep. HINT: look for a class whose default init_args name it again.");
    ++depth_;
  }
  ~Nesting() { --depth_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  static thread_local int depth_;
};
thread_local int Nesting::depth_ = 0;

}  // namespace

const RegistryBase::Entry* RegistryBase::find_entry(const ConfigNode& spec) const {
  const bool is_map = spec.kind() == ConfigNode::Kind::kMap;
  const ConfigNode* class_path = is_map ? spec.find(kClassPath) : &spec;
  if (class_path == nullptr) return nullptr;
  std::string_view name = last_part(class_path->text());
  if (const auto alias = aliases_.find(name); alias != aliases_.end()) name = alias->second;
  for (const Entry& entry : entries_) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

void RegistryBase::add_alias(std::string alias, std::string name) {
  LIGHTNING_CHECK(find_entry(ConfigNode::scalar(name)) != nullptr, ConfigError, "Registry: ", kind_,
                  " \"", name, "\" isn't registered, expected the class that \"", alias,
                  "\" is to stand for");
  LIGHTNING_CHECK(find_entry(ConfigNode::scalar(alias)) == nullptr, ConfigError,
                  "Registry: ", kind_, " \"", alias, "\" is registered twice, expected a new name");
  aliases_.emplace(std::move(alias), std::move(name));
}

void RegistryBase::add_entry(Entry entry) {
  for (const Entry& other : entries_) {
    LIGHTNING_CHECK(other.name != entry.name, ConfigError, "Registry: ", kind_, " \"", entry.name,
                    "\" is registered twice, expected a new name");
  }
  entries_.push_back(std::move(entry));
}

RegistryBase::Found RegistryBase::find(const ConfigNode& spec, std::string_view path) const {
  const ConfigNode* class_path = &spec;
  ConfigNode init_args;
  if (spec.kind() == ConfigNode::Kind::kMap) {
    for (const auto& [key, value] : spec.entries()) {
      if (key != kClassPath && key != kInitArgs) {
        throw_unknown_key(value, key, path, {std::string(kClassPath), std::string(kInitArgs)});
      }
    }
    class_path = spec.find(kClassPath);
    if (const ConfigNode* args = spec.find(kInitArgs)) init_args = *args;
  }
  LIGHTNING_CHECK(class_path != nullptr && class_path->kind() == ConfigNode::Kind::kScalar,
                  ConfigError, spec.source().to_string(), ": ", path,
                  " doesn't name a class, expected {class_path: <name of a ", kind_,
                  ">, init_args: {...}}");
  if (const Entry* entry = find_entry(*class_path)) {
    return {static_cast<size_t>(entry - entries_.data()), std::move(init_args),
            join_path(path, kInitArgs)};
  }
  std::vector<std::string> known;
  for (const Entry& entry : entries_) known.push_back(entry.name);
  const std::string nearest = nearest_name(last_part(class_path->text()), known);
  std::string list;
  for (const std::string& each : known) list += (list.empty() ? "" : ", ") + each;
  throw ConfigError(lightning::detail::concat(
      class_path->source().to_string(), ": unknown ", kind_, " \"", class_path->text(), "\"",
      path.empty() ? "" : " in ", path, ", expected ",
      known.empty() ? "none, because none is registered" : "one of " + list, ".",
      nearest.empty() ? " HINT: a class of the program must be registered in main()."
                      : " HINT: did you mean \"" + nearest + "\"?"));
}

ConfigNode RegistryBase::resolve(const ConfigNode& spec, std::string_view path) const {
  const Nesting nesting(spec, path);
  const Found found = find(spec, path);
  const Entry& entry = entries_[found.index];
  ConfigNode resolved = ConfigNode::map({}, spec.source());
  resolved.set(kClassPath, ConfigNode::scalar(entry.name, spec.source()));
  resolved.set(kInitArgs, entry.resolve(found.init_args, found.init_args_path));
  return resolved;
}

}  // namespace lightning::config
