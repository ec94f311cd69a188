#include <lightning/cli/detail/cli_config.h>

#include <utility>

#include <lightning/checkpoint/checkpoint.h>
#include <lightning/checkpoint/detail/names.h>
#include <lightning/config/yaml.h>
#include <lightning/run/detail/run_folder.h>
#include <lightning/util/detail/strings.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>
#include <lightning/util/random.h>

namespace lightning {

using config::ConfigNode;
using config::KeyInfo;

namespace {

void append(std::vector<KeyInfo>& keys, std::vector<KeyInfo> more) {
  for (KeyInfo& info : more) keys.push_back(std::move(info));
}

ConfigNode resolve_trainer(ConfigNode section) {
  const TrainerSection read = read_trainer_section(std::move(section));
  ConfigNode resolved = config::to_node(read.options);
  for (const auto& [key, value] : config::to_node(read.classes).entries()) resolved.set(key, value);
  return resolved;
}

/// The model and data options saved in a checkpoint, as a layer of the config.
ConfigNode checkpoint_layer(const CliProgram& program, const std::filesystem::path& checkpoint) {
  ConfigNode saved = config::parse_yaml(Checkpoint::read_config(checkpoint),
                                        (checkpoint / detail::kConfigFile).string());
  // Sections that aren't there become null, which checked() leaves out.
  ConfigNode layer = ConfigNode::map();
  layer.set("model", saved.take("model"));
  if (program.data.create) layer.set("data", saved.take("data"));
  return layer;
}

/// Whether ckpt_path names a folder of another program's, which an option of the module takes: it
/// is given to that option then, over what stands there, and there is no checkpoint.
bool use_folder(const CliProgram& program, const CommandLine& line, ConfigNode& config) {
  const std::string folder = config.find("ckpt_path")->text();
  if (!program.model.option_of_folder || detail::is_last_or_best(folder)) return false;
  const std::string option = program.model.option_of_folder(folder);
  if (option.empty()) return false;
  LIGHTNING_CHECK(line.command != "fit", ConfigError, "command line: ckpt_path is ", folder,
                  ", a model folder without the state of a training, expected a checkpoint to "
                  "resume from. HINT: --",
                  option, " ", folder, " starts a new training from its weights.");
  config.set_path(option, config.take("ckpt_path"));
  return true;
}

/// The text of a scalar, "" for anything else.
std::string text_at(const ConfigNode& config, const std::string& key) {
  const ConfigNode* node = config.find_path(key);
  return node != nullptr && node->kind() == ConfigNode::Kind::kScalar ? node->text() : "";
}

/// Whether the command line itself sets the key.
bool is_on_line(const CliKeys& keys, const CommandLine& line, const std::string& key,
                ConfigNode config) {
  config.set_path(key, ConfigNode());
  keys.apply_overrides(line.overrides, config);
  return !text_at(config, key).empty();
}

/// ckpt_path replaces what the module's source option names. Both on the command line is an error;
/// a config file may name the checkpoint's own source, as that of its training does. `saved`:
/// layer of the checkpoint.
void check_one_source(const CliProgram& program, bool on_line, const ConfigNode& config,
                      const ConfigNode* saved) {
  const std::string& option = program.model.source_option;
  const std::string source = text_at(config, option);
  if (source.empty() || (!on_line && (saved == nullptr || source == text_at(*saved, option)))) {
    return;
  }
  throw ConfigError(detail::concat("command line: ckpt_path is ", text_at(config, "ckpt_path"),
                                   " and ", option, " is ", source,
                                   ", expected one of them, as the checkpoint holds its own model. "
                                   "HINT: take either --ckpt_path or --",
                                   option, "."));
}

/// A training that resumes has the checkpoint's model, and its config says so.
void keep_source(const CliProgram& program, const std::filesystem::path& checkpoint,
                 ConfigNode& config) {
  const std::string& option = program.model.source_option;
  ConfigNode saved;
  try {
    saved = checkpoint_layer(program, checkpoint);
  } catch (const CheckpointError&) {
    return;  // loading the checkpoint reports what is wrong with it
  }
  const std::string source = text_at(saved, option);
  const std::string given = text_at(config, option);
  if (source.empty() || given == source) return;
  if (!given.empty()) {
    log_warning(detail::concat(
        "command line: ", option, " is ", given, " and the run resumes from ", checkpoint.string(),
        ": the checkpoint's model and tokenizer are used, which began with ", source, "."));
  }
  config.set_path(option, ConfigNode::scalar(source));
}

/// Everything laid over `base`, the program's defaults.
ConfigNode merge_layers(const CliProgram& program, const CliKeys& keys, const CommandLine& line,
                        ConfigNode base) {
  ConfigNode given = ConfigNode::map();
  for (const std::string& file : line.config_files) {
    given.merge(keys.checked(config::load_yaml_file(file)));
  }
  // Overrides may lead into lists of the layers below, so they are applied to everything.
  const auto lay_over = [&](ConfigNode under) {
    under.merge(given);
    keys.apply_overrides(line.overrides, under);
    return under;
  };
  ConfigNode merged = lay_over(base);
  const ConfigNode* ckpt_path = merged.find("ckpt_path");
  if (ckpt_path == nullptr || ckpt_path->kind() != ConfigNode::Kind::kScalar) return merged;
  const bool has_source = !program.model.source_option.empty();
  const bool on_line = has_source && is_on_line(keys, line, program.model.source_option, merged);
  if (on_line && line.command != "fit") check_one_source(program, on_line, merged, nullptr);
  if (use_folder(program, line, merged)) return merged;
  if (line.command == "fit") {
    if (has_source) keep_source(program, find_cli_checkpoint(merged, ckpt_path->text()), merged);
    return merged;
  }
  const auto checkpoint = find_cli_checkpoint(merged, ckpt_path->text());
  const ConfigNode layer = keys.checked(checkpoint_layer(program, checkpoint));
  if (has_source) check_one_source(program, on_line, lay_over(ConfigNode::map()), &layer);
  base.merge(layer);
  return lay_over(std::move(base));
}

}  // namespace

SeedOption SeedOption::from_text(std::string_view text) {
  SeedOption option;
  option.on_ = text != "false";
  if (text == "true" || text == "false") return option;
  const auto seed = parse_number<uint64_t>(text);
  if (!seed) throw ConfigError("expected true, false or an integer of at least 0.");
  option.seed_ = *seed;
  return option;
}

std::string SeedOption::to_text() const {
  if (!on_) return "false";
  return seed_ ? std::to_string(*seed_) : "true";
}

void SeedOption::seed() {
  if (on_) seed_ = seed_everything(seed_);
}

void LoggerChoice::read(const ConfigNode& node, std::string_view path) {
  const bool is_plain = node.kind() == ConfigNode::Kind::kScalar && !node.quoted();
  if (node.is_null() || (is_plain && (node.text() == "true" || node.text() == "false"))) {
    switch_ = node.is_null() || node.text() == "true";
    return;
  }
  classes_.read(node, path);
  switch_.reset();
}

ConfigNode LoggerChoice::to_node() const {
  return switch_ ? ConfigNode::scalar(*switch_ ? "true" : "false") : classes_.to_node();
}

std::optional<Loggers> LoggerChoice::create() const {
  if (!switch_) return classes_.create();
  return *switch_ ? std::nullopt : std::optional(Loggers{});
}

TrainerSection read_trainer_section(ConfigNode section) {
  TrainerSection read;
  ConfigNode classes = ConfigNode::map();
  for (const auto& field : config::type_info<TrainerClasses>().structure->fields) {
    if (section.find(field.name) != nullptr) classes.set(field.name, section.take(field.name));
  }
  config::apply(classes, read.classes, "trainer");
  config::apply(section, read.options, "trainer");
  return read;
}

CliKeys make_cli_keys(const CliProgram& program, const CliCommandOptions& own,
                      const ConfigNode& defaults) {
  std::vector<KeyInfo> keys = own.keys;
  append(keys, config::describe<GeneralOptions>());
  append(keys, program.model.keys);
  append(keys, program.data.keys);
  append(keys, config::describe(TrainerOptions{}, "trainer"));
  append(keys, config::describe(TrainerClasses{}, "trainer"));
  for (KeyInfo& info : keys) {
    const ConfigNode* value = defaults.find_path(info.key);
    if (value != nullptr) info.default_value = config::to_flow_yaml(*value);
  }
  return CliKeys(std::move(keys));
}

std::filesystem::path find_cli_checkpoint(const ConfigNode& config, const std::string& ckpt_path) {
  if (!detail::is_last_or_best(ckpt_path)) return ckpt_path;
  std::filesystem::path root = TrainerOptions{}.default_root_dir;
  const ConfigNode* given = config.find_path("trainer.default_root_dir");
  if (given != nullptr && !given->is_null()) root = given->text();
  return find_checkpoint(root, ckpt_path, checkpoint_dirpaths(config));
}

ConfigNode resolve_cli_config(const CliProgram& program, const CliCommandOptions& own,
                              const CliKeys& keys, const CommandLine& line,
                              const ConfigNode& defaults) {
  ConfigNode merged = merge_layers(program, keys, line, keys.checked(defaults));
  ConfigNode own_section = ConfigNode::map();
  for (const KeyInfo& info : own.keys) {
    const std::string top = info.key.substr(0, info.key.find('.'));
    if (merged.find(top) != nullptr) own_section.set(top, merged.take(top));
  }
  const ConfigNode trainer = merged.take("trainer");
  const ConfigNode model = merged.take("model");
  const ConfigNode data = merged.take("data");
  GeneralOptions general;
  config::apply(merged, general);
  general.seed_everything.seed();
  const ConfigNode general_node = config::to_node(general);

  ConfigNode resolved = ConfigNode::map();
  resolved.set("seed_everything", *general_node.find("seed_everything"));
  resolved.set("trainer", resolve_trainer(trainer));
  for (const char* key : {"optimizer", "lr_scheduler"}) {
    const ConfigNode* named = general_node.find(key);
    if (!named->is_null()) resolved.set(key, *named);
  }
  resolved.set("model", program.model.resolve(model));
  if (program.data.create) resolved.set("data", program.data.resolve(data));
  resolved.set("ckpt_path", *general_node.find("ckpt_path"));
  if (own.resolve) {
    for (const auto& [key, value] : own.resolve(own_section).entries()) resolved.set(key, value);
  }
  return resolved;
}

}  // namespace lightning
