/// Profiler: measures the parts of a run. The Trainer reports to it, by number, when an action
/// begins and ends: each phase of the loops, and each hook of every callback, of the module and of
/// the data module. docs/hooks.md lists the names of actions.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <string>
#include <string_view>

#include <lightning/core/trainer_context.h>
#include <lightning/util/export.h>

namespace lightning {

/// Every rank has a separate one. All calls come from the thread that runs the Trainer. Subclasses
/// override the private functions.
class LIGHTNING_API Profiler {
 public:
  Profiler();
  virtual ~Profiler();
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  /// "simple", for messages.
  std::string_view name() const { return do_name(); }
  /// Before the first action of a run. `run_dir` is the run's folder, empty when the run writes no
  /// files.
  void setup(Stage stage, const std::filesystem::path& run_dir, int64_t global_rank) {
    do_setup(stage, run_dir, global_rank);
  }
  /// The number of the action with that name: 0 for the first name that is requested, 1 for the
  /// second, the same number for the same name. It stays valid as long as the profiler lives.
  int32_t action(std::string_view name);
  /// `action` must come from action().
  const std::string& action_name(int32_t action) const {
    return names_[static_cast<size_t>(action)];
  }

  /// An action may begin within another one, also within itself; the last to begin ends first.
  /// start() and stop() come in pairs, also when an exception ends the action.
  void start(int32_t action) { do_start(action); }
  void stop(int32_t action) noexcept { do_stop(action); }

  /// What is printed on rank 0 at the end of a run; empty: nothing.
  std::string summary() const { return do_summary(); }

 private:
  virtual std::string_view do_name() const = 0;
  virtual void do_setup(Stage stage, const std::filesystem::path& run_dir, int64_t global_rank);
  virtual void do_start(int32_t action) = 0;
  virtual void do_stop(int32_t action) noexcept = 0;
  virtual std::string do_summary() const;

  std::deque<std::string> names_;  // does not move names when it grows
};

/// An action that lasts until this is destroyed. Without a profiler it is nothing.
class Profiled {
 public:
  /// `profiler` may be null, else it must outlive this.
  Profiled(Profiler* profiler, int32_t action) : profiler_(profiler), action_(action) {
    if (profiler_ != nullptr) profiler_->start(action_);
  }
  ~Profiled() {
    if (profiler_ != nullptr) profiler_->stop(action_);
  }
  Profiled(const Profiled&) = delete;
  Profiled& operator=(const Profiled&) = delete;

 private:
  Profiler* profiler_;
  int32_t action_;
};

}  // namespace lightning
