#include <lightning/trainer/detail/report.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <functional>

#include <lightning/accelerators/accelerator.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/config/yaml.h>
#include <lightning/precision/precision.h>
#include <lightning/util/detail/text_table.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

using config::ConfigNode;

std::string on_one_line(const ConfigNode& node) {
  return node.is_null() ? "null" : config::to_flow_yaml(node);
}

/// Leaves of a config with their dotted names.
void for_each_leaf(const ConfigNode& node, const std::string& path,
                   const std::function<void(const std::string&, const ConfigNode&)>& visit) {
  if (node.kind() != ConfigNode::Kind::kMap) return visit(path, node);
  for (const auto& [key, value] : node.entries()) {
    for_each_leaf(value, path.empty() ? key : path + "." + key, visit);
  }
}

constexpr std::array<std::string_view, 7> kAlwaysShown = {
    "accelerator", "devices", "num_nodes", "strategy", "precision", "max_epochs", "max_steps"};

/// The user's options with what they came to in this run.
TrainerOptions in_effect(const RunState& run) {
  TrainerOptions options = run.context.options.user;
  options.accelerator = run.context.options.device.is_cpu() ? "cpu" : "cuda";
  options.devices = run.context.options.topology.local_world_size;
  options.num_nodes = run.context.options.topology.num_nodes;
  options.strategy = run.context.strategy->name();
  options.precision = run.context.precision->name();
  options.max_epochs = run.context.options.max_epochs;
  options.max_steps = run.context.options.max_steps;
  return options;
}

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.6g", value);
  return text;
}

}  // namespace

void print_run_header(const RunState& run, const std::optional<std::filesystem::path>& checkpoint) {
  const ResolvedOptions& options = run.context.options;
  TextTable table({"option", "value"});
  table.add_row({"device", options.device_name});
  table.add_row({"world size", std::to_string(options.world_size)});
  const ConfigNode defaults = config::to_node(TrainerOptions{});
  for (const auto& [key, value] : config::to_node(in_effect(run)).entries()) {
    const std::string text = on_one_line(value);
    const bool always =
        std::find(kAlwaysShown.begin(), kAlwaysShown.end(), key) != kAlwaysShown.end();
    if (always || text != on_one_line(*defaults.find(key))) table.add_row({key, text});
  }
  const auto batches = run.loaders.train.empty() ? std::nullopt : run.num_training_batches();
  if (batches) table.add_row({"batches per epoch", std::to_string(*batches)});
  if (!run.context.run_dir.empty()) table.add_row({"run folder", run.context.run_dir.string()});
  if (checkpoint) {
    table.add_row({"resumed from", checkpoint->string()});
    table.add_row(
        {"at", detail::concat("epoch ", run.progress.epoch, ", step ", run.progress.global_step)});
  }
  log_info(table.to_text());
}

void print_rendezvous(const Topology& topology) {
  if (topology.global_rank == 0) log_info(describe(topology));
  log_on_every_rank(detail::concat("Initializing distributed: GLOBAL_RANK: ", topology.global_rank,
                                   ", MEMBER: ", topology.global_rank + 1, "/",
                                   topology.world_size));
}

void print_world_ready(World& world) {
  const std::string rule(100, '-');
  log_info(detail::concat(rule, "\ndistributed_backend=", world.group().backend(),
                          "\nAll distributed processes registered. Starting with ",
                          world.topology().world_size, " processes\n", rule));
}

std::string size_text(int64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto size = static_cast<double>(bytes);
  size_t unit = 0;
  for (; size >= 1024.0 && unit + 1 < std::size(kUnits); ++unit) size /= 1024.0;
  char text[32];
  std::snprintf(text, sizeof(text), unit == 0 ? "%.0f %s" : "%.1f %s", size, kUnits[unit]);
  return text;
}

std::string signal_name(int signal) {
  if (signal == SIGINT) return "SIGINT (Ctrl-C)";
  const char* name = ::sigabbrev_np(signal);
  return name == nullptr ? detail::concat("signal ", signal) : detail::concat("SIG", name);
}

void print_run_end(const RunState& run) {
  const double seconds = run.elapsed_seconds() - run.progress.elapsed_seconds;
  const int64_t steps = run.progress.global_step - run.clock.first_step;
  std::string text = detail::concat("Trainer: fit ended, ", run.end_reason, ": ", steps,
                                    " steps in ", number_text(seconds), " s");
  if (steps > 0 && seconds > 0.0) {
    text +=
        detail::concat(" (", number_text(static_cast<double>(steps) / seconds), " steps/s in all");
    // Without setup, validations, checkpoints and the first batches, which warm up.
    if (run.clock.training_seconds > 0.0 && run.clock.timed_steps > 0) {
      const double rate = static_cast<double>(run.clock.timed_steps) / run.clock.training_seconds;
      text += detail::concat("; training batches alone ", number_text(rate), " steps/s");
    }
    text += ")";
  }
  log_info(text + ".");
  const int64_t peak = memory_stats(run.context.options.device).peak_allocated;
  if (peak > 0) {
    log_info(detail::concat("Peak memory in tensors of rank ", run.context.strategy->global_rank(),
                            ": ", size_text(peak), " (", peak, " bytes)"));
  }
  for (const auto& callback : run.context.callbacks) {
    const auto* checkpoint = dynamic_cast<const ModelCheckpoint*>(callback.get());
    if (checkpoint == nullptr) continue;
    const bool ranked = checkpoint->best_model_score().has_value();
    const auto& path = ranked ? checkpoint->best_model_path() : checkpoint->last_model_path();
    if (!path.empty())
      log_info((ranked ? "Best checkpoint: " : "Last checkpoint: ") + path.string());
  }
  if (!run.context.run_dir.empty()) log_info("Run folder: " + run.context.run_dir.string());
}

void print_metrics(Stage stage, const std::vector<MetricMap>& metrics) {
  std::vector<std::string> header = {detail::concat(to_string(stage), " metric")};
  for (size_t i = 0; i < metrics.size(); ++i) {
    header.push_back(metrics.size() == 1 ? "value" : detail::concat("loader ", i));
  }
  std::vector<std::string> names;
  for (const MetricMap& map : metrics) {
    for (const auto& [name, value] : map) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  if (names.empty()) return;
  TextTable table(header);
  for (const std::string& name : names) {
    std::vector<std::string> row = {name};
    for (const MetricMap& map : metrics) {
      const auto found = map.find(name);
      row.push_back(found == map.end() ? "" : number_text(found->second));
    }
    table.add_row(std::move(row));
  }
  log_info(table.to_text());
}

void log_hyperparameters(RunState& run) {
  if (run.context.loggers.empty() || !run.context.options.user.enable_autolog_hparams) return;
  std::vector<std::pair<std::string, std::string>> parameters;
  for_each_leaf(config::parse_yaml(run.context.config, "resolved config"), "",
                [&](const std::string& name, const ConfigNode& value) {
                  parameters.emplace_back(name, on_one_line(value));
                });
  for (const auto& logger : run.context.loggers) logger->log_hyperparameters(parameters);
}

std::string resume_command(const std::string& program, const std::filesystem::path& config_file,
                           const std::filesystem::path& checkpoint) {
  if (program.empty()) {
    return detail::concat("fit(module, data, {.ckpt_path = \"", checkpoint.string(), "\"})");
  }
  return detail::concat(program, " fit --config ", config_file.string(), " --ckpt_path ",
                        checkpoint.string());
}

}  // namespace lightning
