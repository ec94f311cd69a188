/// ResumeChanges: what differs between the run that wrote a checkpoint and the one that resumes
/// from it, and which of the two holds (docs/checkpoint_format.md has the table).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lightning/core/optimizer_config.h>
#include <lightning/util/state_dict.h>

namespace lightning {

/// The name under which checkpoints hold a schedule: "0" for the first of optimizer 0, "0.1" for
/// its second.
std::string schedule_key(size_t optimizer, size_t schedule);

/// The settings that configure_optimizers() gave, as checkpoints hold them under "configured":
///   optimizer/0/groups/0/lr ...   of each parameter group; with a schedule, lr is its base rate
///   lr_scheduler/0/schedule, lr_scheduler/0/interval, lr_scheduler/0/frequency, and
///   lr_scheduler/0/monitor of one that watches a metric; see schedule_key()
StateDict configured_optimizers(const std::vector<OptimizerConfig>& optimizers);

class ResumeChanges {
 public:
  /// `applied`: the new value holds, else the checkpoint's.
  void add_optimizer_option(std::string name, const StateDict::Value& saved,
                            const StateDict::Value& now, bool applied);
  void add_schedule(const std::string& saved, const std::string& now, const std::string& outcome);
  /// The training loader's seed and shuffle in the checkpoint (`state`: that of the loader), which
  /// hold because its epoch isn't over.
  void keep_loader_options(const StateDict& state);
  /// Compares configs (YAML) key by key; keys of optimizer options that were added before are left
  /// to those.
  void compare_configs(const std::string& saved, const std::string& now);

  bool empty() const { return lines_.empty(); }
  /// Whether anything is not as the new config says.
  bool keeps_any() const { return !not_applied_.empty(); }
  /// All of it, for the user.
  std::string text(const std::filesystem::path& checkpoint) const;
  /// `config` with the values that hold, and with comments on those that no key of it sets.
  std::string effective_config(const std::string& config,
                               const std::filesystem::path& checkpoint) const;

 private:
  struct Option {
    std::string name;  // "lr"
    std::string saved;
    std::string now;
    bool applied;
    std::vector<std::string> keys;  // of the config, which set it
  };
  void add_leaf(const std::string& path, const std::string& saved, const std::string& now);

  /// Whether a key of the data set an option of the loader that isn't applied.
  bool sets_loader(const std::string& path, const std::string& saved) const;

  std::vector<Option> options_;
  std::vector<std::pair<std::string, std::string>> loader_options_;  // name, in the checkpoint
  std::vector<std::pair<std::string, std::string>> kept_keys_;       // of the loader, and the value
  bool schedule_changed_ = false;
  std::vector<std::string> lines_;
  std::vector<std::string> not_applied_;
};

/// As a config writes it.
std::string value_text(const StateDict::Value& value);

}  // namespace lightning
