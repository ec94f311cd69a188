#include <lightning/loops/resume_changes.h>

#include <algorithm>
#include <array>
#include <variant>

#include <torch/optim/optimizer.h>

#include <lightning/config/value_io.h>
#include <lightning/config/yaml.h>
#include <lightning/optim/optimizer_state.h>

namespace lightning {
namespace {

using config::ConfigNode;

/// What is said of a key that differs; the longest prefix counts.
struct Outcome {
  std::string_view prefix;
  std::string_view text;
};
constexpr std::string_view kNewOne = "the new value is used";
constexpr std::array<Outcome, 8> kOutcomes = {{
    {"seed_everything", "the random generators continue as the checkpoint has them"},
    {"model.", "the new value is used, with the checkpoint's weights"},
    {"data.", "the new value is used, from the checkpoint's position in the data"},
    {"optimizer.", "the new value is used where the checkpoint's state has none"},
    {"trainer.accumulate_grad_batches",
     "the new value is used, unless set_accumulate_grad_batches() was called; a window begins "
     "here"},
    {"trainer.callbacks", "the config's callbacks are used"},
    {"trainer.callbacks.", "the new value is used, with the callback's saved state"},
    {"trainer.max_time", "the new value is used; the time of earlier sessions counts"},
}};
/// These say nothing about the training, or are different in every resume.
constexpr std::array<std::string_view, 5> kLeftOut = {
    "ckpt_path", "trainer.enable_progress_bar", "trainer.enable_model_summary",
    "trainer.default_root_dir", "trainer.resume_optimizer_options"};

std::string_view outcome_of(std::string_view path) {
  std::string_view text = kNewOne;
  size_t longest = 0;
  for (const Outcome& outcome : kOutcomes) {
    if (!path.starts_with(outcome.prefix) || outcome.prefix.size() <= longest) continue;
    text = outcome.text;
    longest = outcome.prefix.size();
  }
  return text;
}

std::string whole_text(const ConfigNode& node) {
  return node.is_null() ? "null" : config::to_flow_yaml(node);
}

/// Calls visit(path, saved, now) with the texts of two values that differ; what is long is cut, if
/// the rest still differs.
template <typename Visit>
void visit_values(const ConfigNode& saved, const ConfigNode& now, const std::string& path,
                  Visit&& visit) {
  static constexpr size_t kWidth = 80;
  const auto cut = [](std::string text) {
    return text.size() > kWidth ? text.substr(0, kWidth - 3) + "..." : text;
  };
  const std::string saved_text = whole_text(saved);
  const std::string now_text = whole_text(now);
  if (cut(saved_text) == cut(now_text)) return visit(path, saved_text, now_text);
  visit(path, cut(saved_text), cut(now_text));
}

/// The class that a node names, without the modules before it; empty when it names none.
std::string class_of(const ConfigNode& node) {
  const bool is_map = node.kind() == ConfigNode::Kind::kMap;
  const ConfigNode* path = is_map ? node.find("class_path") : &node;
  if (path == nullptr || path->kind() != ConfigNode::Kind::kScalar) return {};
  return path->text().substr(path->text().rfind('.') + 1);
}

/// Whether a node is a list of objects, such as the callbacks; null is an empty one.
bool lists_objects(const ConfigNode& node) {
  if (node.kind() != ConfigNode::Kind::kList) return node.is_null();
  return std::none_of(node.items().begin(), node.items().end(),
                      [](const ConfigNode& item) { return class_of(item).empty(); });
}

/// An object of a list, and its number among those of its class.
struct NumberedObject {
  size_t number;
  const ConfigNode* node;
};

std::vector<NumberedObject> objects_of(const ConfigNode& list, const std::string& name) {
  std::vector<NumberedObject> objects;
  for (const ConfigNode& item : list.items()) {
    if (class_of(item) == name) objects.push_back({objects.size() + 1, &item});
  }
  return objects;
}

/// Leaves out the objects that are the same in both.
void remove_equal(std::vector<NumberedObject>& saved, std::vector<NumberedObject>& now) {
  std::erase_if(saved, [&](const NumberedObject& one) {
    const auto same = std::find_if(now.begin(), now.end(), [&](const NumberedObject& other) {
      return *one.node == *other.node;
    });
    if (same == now.end()) return false;
    now.erase(same);
    return true;
  });
}

/// Each class of the two lists once.
std::vector<std::string> classes_of(const ConfigNode& saved, const ConfigNode& now) {
  std::vector<std::string> names;
  for (const ConfigNode* list : {&saved, &now}) {
    for (const ConfigNode& item : list->items()) {
      std::string name = class_of(item);
      if (std::find(names.begin(), names.end(), name) == names.end()) {
        names.push_back(std::move(name));
      }
    }
  }
  return names;
}

/// The arguments that two objects of a class both have and that differ.
template <typename Visit>
void visit_arguments(const ConfigNode& saved, const ConfigNode& now, const std::string& path,
                     Visit&& visit) {
  const ConfigNode* old_arguments = saved.find("init_args");
  const ConfigNode* new_arguments = now.find("init_args");
  if (old_arguments == nullptr || new_arguments == nullptr) return;
  for (const auto& [key, value] : new_arguments->entries()) {
    const ConfigNode* before = old_arguments->find(key);
    if (before == nullptr || *before == value) continue;
    visit_values(*before, value, path + "." + key, visit);
  }
}

/// Compares two lists of objects by class, wherever an object stands.
template <typename Visit>
void visit_objects(const ConfigNode& saved, const ConfigNode& now, const std::string& path,
                   Visit&& visit) {
  for (const std::string& name : classes_of(saved, now)) {
    std::vector<NumberedObject> before = objects_of(saved, name);
    std::vector<NumberedObject> after = objects_of(now, name);
    const bool several = after.size() > 1;
    remove_equal(before, after);
    const size_t both = std::min(before.size(), after.size());
    for (size_t i = 0; i < both; ++i) {
      const std::string number = several ? detail::concat(" ", after[i].number) : "";
      visit_arguments(*before[i].node, *after[i].node, path + "." + name + number, visit);
    }
    for (size_t i = both; i < before.size(); ++i) visit(path, name, std::string("none"));
    for (size_t i = both; i < after.size(); ++i) visit(path, std::string("none"), name);
  }
}

/// Calls visit(path, saved, now) for the keys that both have and that differ.
template <typename Visit>
void for_each_difference(const ConfigNode& saved, const ConfigNode& now, const std::string& path,
                         Visit&& visit) {
  if (saved == now) return;
  const bool objects = path == "trainer.callbacks" || path == "trainer.logger";
  if (objects && lists_objects(saved) && lists_objects(now)) {
    return visit_objects(saved, now, path, visit);
  }
  const bool maps = saved.kind() == ConfigNode::Kind::kMap && now.kind() == ConfigNode::Kind::kMap;
  const bool lists =
      saved.kind() == ConfigNode::Kind::kList && now.kind() == ConfigNode::Kind::kList;
  if (maps) {
    for (const auto& [key, value] : now.entries()) {
      const ConfigNode* before = saved.find(key);
      const std::string name = path.empty() ? key : path + "." + key;
      if (before != nullptr) for_each_difference(*before, value, name, visit);
    }
  } else if (lists && saved.items().size() == now.items().size()) {
    for (size_t i = 0; i < now.items().size(); ++i) {
      for_each_difference(saved.items()[i], now.items()[i], path + "." + std::to_string(i), visit);
    }
  } else {
    visit_values(saved, now, path, visit);
  }
}

/// Whether a key of this name may set the optimizer's option: "learning_rate" and "max_lr" set lr,
/// "betas.0" beta1.
bool may_set(const std::string& path, const std::string& option) {
  if (!path.starts_with("model.") && !path.starts_with("optimizer.")) return false;
  std::string last = path.substr(path.rfind('.') + 1);
  if (last == "0" || last == "1") {
    const std::string list = path.substr(0, path.rfind('.'));
    last = list.substr(list.rfind('.') + 1) == "betas" ? (last == "0" ? "beta1" : "beta2") : last;
  }
  const bool is_rate = option == "lr" && last.find("learning_rate") != std::string::npos;
  return is_rate || last.find(option) != std::string::npos;
}

/// The folder's name, also of a path with a slash at its end.
std::string name_of(const std::filesystem::path& checkpoint) {
  const std::filesystem::path path = checkpoint.lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

std::string last_part(const std::string& name) { return name.substr(name.rfind('/') + 1); }

}  // namespace

std::string value_text(const StateDict::Value& value) {
  if (const auto* number = std::get_if<double>(&value)) {
    return config::detail::write_double(*number).text();
  }
  if (const auto* number = std::get_if<int64_t>(&value)) return std::to_string(*number);
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  return "a list";
}

std::string schedule_key(size_t optimizer, size_t schedule) {
  return schedule == 0 ? std::to_string(optimizer) : detail::concat(optimizer, ".", schedule);
}

StateDict configured_optimizers(const std::vector<OptimizerConfig>& optimizers) {
  StateDict configured;
  for (size_t i = 0; i < optimizers.size(); ++i) {
    const LRSchedulers& schedules = optimizers[i].lr_scheduler;
    StateDict options = optim::group_options(*optimizers[i].optimizer);
    if (!schedules.empty()) {
      const std::vector<double>& rates = schedules[0].scheduler->base_lrs();
      for (size_t group = 0; group < rates.size(); ++group) {
        options.set(detail::concat("groups/", group, "/lr"), rates[group]);
      }
    }
    for (size_t k = 0; k < schedules.size(); ++k) {
      const LRSchedulerConfig& schedule = schedules[k];
      StateDict entry;
      entry.set("schedule", schedule.scheduler->describe());
      entry.set("interval", schedule.interval == Interval::kStep ? "step" : "epoch");
      entry.set("frequency", schedule.frequency);
      if (schedule.scheduler->watches_metric()) entry.set("monitor", schedule.monitored());
      configured.set("lr_scheduler/" + schedule_key(i, k), entry);
    }
    configured.set(detail::concat("optimizer/", i), options);
  }
  return configured;
}

void ResumeChanges::add_optimizer_option(std::string name, const StateDict::Value& saved,
                                         const StateDict::Value& now, bool applied) {
  Option option{std::move(name), value_text(saved), value_text(now), applied, {}};
  // Groups with the same change are one.
  const bool known = std::any_of(options_.begin(), options_.end(), [&](const Option& other) {
    return last_part(other.name) == last_part(option.name) && other.saved == option.saved &&
           other.now == option.now;
  });
  if (known) return;
  std::string line = detail::concat("optimizer ", last_part(option.name), ": ", option.saved,
                                    " in the checkpoint, ", option.now, " in the config: ");
  line += applied ? "the config's is used" : "the checkpoint's is used";
  if (!applied) not_applied_.push_back(line);
  lines_.push_back(std::move(line));
  options_.push_back(std::move(option));
}

void ResumeChanges::add_schedule(const std::string& saved, const std::string& now,
                                 const std::string& outcome) {
  schedule_changed_ = true;
  lines_.push_back(detail::concat("lr_scheduler: ", saved, " in the checkpoint, ", now,
                                  " in the config: ", outcome));
}

void ResumeChanges::add_leaf(const std::string& path, const std::string& saved,
                             const std::string& now) {
  if (std::find(kLeftOut.begin(), kLeftOut.end(), path) != kLeftOut.end()) return;
  if (schedule_changed_ && path.starts_with("lr_scheduler")) return;
  bool is_option = false;
  for (Option& option : options_) {
    if (option.saved != saved || option.now != now || !may_set(path, last_part(option.name))) {
      continue;
    }
    option.keys.push_back(path);
    is_option = true;
  }
  if (is_option) return;
  const bool is_kept = sets_loader(path, saved);
  const std::string_view outcome =
      is_kept ? "the checkpoint's is used, since its epoch isn't over" : outcome_of(path);
  std::string line =
      detail::concat(path, ": ", saved, " in the checkpoint, ", now, " in the config: ", outcome);
  if (is_kept) kept_keys_.emplace_back(path, saved);
  if (is_kept || path == "seed_everything") not_applied_.push_back(line);
  lines_.push_back(std::move(line));
}

void ResumeChanges::keep_loader_options(const StateDict& state) {
  if (state.contains("seed")) {
    const auto seed = static_cast<uint64_t>(state.get<int64_t>("seed"));
    loader_options_.emplace_back("seed", std::to_string(seed));
  }
  if (state.contains("shuffle")) {
    loader_options_.emplace_back("shuffle", value_text(state.get<bool>("shuffle")));
  }
}

bool ResumeChanges::sets_loader(const std::string& path, const std::string& saved) const {
  if (!path.starts_with("data.")) return false;
  return std::any_of(loader_options_.begin(), loader_options_.end(), [&](const auto& option) {
    const auto& [name, value] = option;
    // A seed of null is that of seed_everything.
    const bool fits = saved == value || (name == "seed" && saved == "null");
    return fits && path.substr(path.rfind('.') + 1).find(name) != std::string::npos;
  });
}

void ResumeChanges::compare_configs(const std::string& saved, const std::string& now) {
  if (saved.empty() || now.empty()) return;
  for_each_difference(config::parse_yaml(saved, "config of the checkpoint"),
                      config::parse_yaml(now, "config"), "",
                      [this](const auto&... leaf) { add_leaf(leaf...); });
}

std::string ResumeChanges::text(const std::filesystem::path& checkpoint) const {
  std::string text = detail::concat("Trainer: the run resumes from ", name_of(checkpoint),
                                    " with other options than it was saved with:");
  for (const std::string& line : lines_) text += "\n  " + line;
  const bool keeps_option = std::any_of(options_.begin(), options_.end(),
                                        [](const Option& option) { return !option.applied; });
  if (keeps_option) {
    text +=
        "\nHINT: trainer.resume_optimizer_options: config applies the optimizer's new settings.";
  }
  return text;
}

std::string ResumeChanges::effective_config(const std::string& config,
                                            const std::filesystem::path& checkpoint) const {
  if (!keeps_any() || config.empty()) return config;
  ConfigNode node = config::parse_yaml(config, "config");
  for (const Option& option : options_) {
    for (const std::string& key : option.keys) {
      if (!option.applied) node.set_path(key, ConfigNode::scalar(option.saved));
    }
  }
  for (const auto& [key, saved] : kept_keys_) {
    node.set_path(key, saved == "null" ? ConfigNode() : ConfigNode::scalar(saved));
  }
  std::string text = detail::concat("# Resumed from ", name_of(checkpoint),
                                    ", which decides here, whatever the options of the command "
                                    "line were:\n");
  for (const std::string& line : not_applied_) text += "#   " + line + "\n";
  return text + config::to_yaml(node);
}

}  // namespace lightning
