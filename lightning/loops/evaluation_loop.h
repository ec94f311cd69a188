/// EvaluationLoop: validation inside fit, and the passes of validate() and test().
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/loops/run_state.h>

namespace lightning {

/// Whether an option sets the number of batches to 0.
bool leaves_none(const BatchLimit& limit);
/// The number of batches of a pass that `option` limits; nothing when unknown. Throws ConfigError
/// when there are batches and a share of them leaves none.
std::optional<int64_t> limited_batches(const BatchLimit& limit, const BatchSource& loader,
                                       std::string_view option);

/// Warns that a pass ran no batch and says why.
void warn_of_empty_pass(const RunState& run, std::string_view pass, const DataLoaders& loaders,
                        const BatchLimit& limit, std::string_view option);

/// In the current loader of an evaluation or a prediction.
struct EvaluationPlace {
  int64_t batch_idx = 0;
  std::optional<int64_t> num_batches;  // unknown without
};

class EvaluationLoop {
 public:
  explicit EvaluationLoop(RunState& run) : run_(run) {}

  /// Whether fit has anything to validate.
  bool enabled() const;
  /// Asks for the validation loaders once.
  void prepare_validation();
  /// The check of `num_sanity_val_steps` batches before training; its metrics are thrown away and
  /// the generators are put back.
  void run_sanity_check();
  /// A pass over the validation loaders. With `may_stop` a signal ends it between two batches; it
  /// returns false then, and the generators are as before.
  bool run_validation(bool may_stop);
  /// The pass of validate() or test() over run.loaders.evaluation; the metrics of each loader.
  std::vector<MetricMap> run_evaluation();

  /// Whether a sanity check of this fit ran the module's validation_step().
  bool sanity_checked() const { return sanity_checked_; }
  bool sanity_checking() const { return sanity_checking_; }
  bool validating() const { return validating_; }
  EvaluationPlace& place() { return place_; }

 private:
  /// Asks for the validation loaders again where reload_dataloaders_every_n_epochs says so.
  void reload_validation();
  /// overfit_batches: validates on a copy of the training loader.
  void use_training_batches();
  struct Kind;  // the hooks of validation or of test
  /// Returns false when it was given up.
  bool run_pass(const Kind& kind, DataLoaders& loaders, const BatchLimit& limit,
                std::optional<int64_t> at_most, bool may_stop);
  bool run_batches(const Kind& kind, DataLoaders& loaders, const BatchLimit& limit,
                   std::optional<int64_t> at_most, bool may_stop);
  void evaluate_batch(const Kind& kind, const Batch& loaded, int64_t batch_idx);
  void start_pass(const Kind& kind);
  void end_pass(const Kind& kind, bool completed);
  [[nodiscard]] Profiled enter(const Phase& phase, const MetricLog::Scope& scope);
  /// The on_step values of a batch, at the place that this batch of its loader has.
  void send_step_row(int64_t dataloader_idx);
  void publish_metrics();

  RunState& run_;
  std::vector<int64_t> batches_;  // outside fit, what Progress::validation_batches is in it
  EvaluationPlace place_;
  int64_t batches_run_ = 0;  // of the current pass
  bool sanity_checking_ = false;
  bool sanity_checked_ = false;
  bool validating_ = false;
  bool has_step_ = true;  // false once the base class's validation_step() answered
};

/// Asks for the loaders of validate(), test() or predict() when none were given, and checks that
/// there is one. Throws ConfigError.
void prepare_evaluation_loaders(RunState& run);

}  // namespace lightning
