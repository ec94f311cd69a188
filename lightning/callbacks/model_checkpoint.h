/// ModelCheckpoint: which checkpoints of a run are written and kept.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lightning/callbacks/callback.h>
#include <lightning/callbacks/monitor.h>
#include <lightning/config/fields.h>
#include <lightning/util/export.h>

namespace lightning {

class TimeTrigger;

struct ModelCheckpointOptions {
  // ---- where
  /// Folder; empty: checkpoints/ in the run's folder, from where a run is continued in place.
  std::filesystem::path dirpath = "";
  /// Template without extension: "{epoch}-{val_loss:.2f}" gives "epoch=3-val_loss=0.41". Known are
  /// epoch, step and every logged metric; one without a value of this step is "none". Without a
  /// slash (folders are dirpath's), not beginning with a dot, and not "last" or "best".
  std::string filename = "{epoch}-{step}";
  /// False: "{epoch}-{val_loss:.2f}" gives "3-0.41", for templates that have the names.
  bool auto_insert_metric_name = true;
  // ---- which
  /// Metric that decides which ones are kept; empty: the newest.
  std::string monitor = "";
  MonitorMode mode = MonitorMode::kMin;
  /// How many to keep; -1: all, 0: none.
  int64_t save_top_k = 1;
  /// Also write, and keep until the next one, a checkpoint that isn't among the best.
  bool save_last = false;
  bool save_weights_only = false;
  /// Say where each one was written.
  bool verbose = false;
  // ---- when: by one of these
  /// Every so many optimizer steps; 0: not by steps.
  int64_t every_n_train_steps = 0;
  /// After so much training time, > 0, counted from the start of the fit; rank 0's clock decides.
  /// In YAML 90s, 15min, 2h or DD:HH:MM:SS.
  std::optional<std::chrono::milliseconds> train_time_interval = std::nullopt;
  /// Every so many epochs, or validations when there are several in an epoch; 0: never. Nothing:
  /// every epoch, unless one of the others is given.
  std::optional<int64_t> every_n_epochs = std::nullopt;
  /// At the end of an epoch, or after a validation; nothing: at the epoch's end where fit validates
  /// once in each epoch, else after each validation.
  std::optional<bool> save_on_train_epoch_end = std::nullopt;
};

LIGHTNING_FIELDS(
    ModelCheckpointOptions,
    LIGHTNING_FIELD(dirpath, "folder; empty: checkpoints/ in the run's folder"),
    LIGHTNING_FIELD(filename, "template, such as \"{epoch}-{val_loss:.2f}\""),
    LIGHTNING_FIELD(auto_insert_metric_name, "write the names of metrics before their values"),
    LIGHTNING_FIELD(monitor, "metric that decides which ones are kept; empty: the newest"),
    LIGHTNING_FIELD(mode, "min or max: which values of the metric are better"),
    LIGHTNING_FIELD(save_top_k, "how many to keep; -1: all, 0: none"),
    LIGHTNING_FIELD(save_last, "also keep the newest one when it isn't among the best"),
    LIGHTNING_FIELD(save_weights_only, "leave out what only a resume needs"),
    LIGHTNING_FIELD(verbose, "say where each one was written"),
    LIGHTNING_FIELD(every_n_train_steps, "save every n optimizer steps; 0: not by steps"),
    LIGHTNING_FIELD(train_time_interval, "save after so much training time; null: not by time"),
    LIGHTNING_FIELD(every_n_epochs,
                    "save every n epochs; 0: never; null: every epoch unless steps or "
                    "time decide"),
    LIGHTNING_FIELD(save_on_train_epoch_end,
                    "save at an epoch's end (true) or after a validation (false); "
                    "null: by how often fit validates"))

/// In the folder, `last.ckpt` links to the newest checkpoint and, with a monitor, `best.ckpt` to
/// the best. An old checkpoint is removed only after the new one is whole on the disk, and only by
/// the callback that wrote it, which knows it by an id in its manifest.
///
/// A checkpoint is scored by a value of its own step: one that is due at the step of a validation
/// is written after it, and an older value counts as none (at the end of an epoch, one of an
/// earlier epoch). Without a score it isn't ranked, and is kept as the newest until the next one.
/// In file names such a value is `none`. In the epoch that renews BatchNorm's statistics
/// (TrainerContext::renew_statistics_at_end()), which makes no step, the value must be of that
/// epoch.
///
/// What it knows belongs to one fit: setup() forgets it, a resumed fit takes it from the
/// checkpoint.
class LIGHTNING_API ModelCheckpoint final : public Callback {
 public:
  using Options = ModelCheckpointOptions;
  /// Throws ConfigError for values out of range, a broken template and more than one of
  /// every_n_train_steps, train_time_interval and every_n_epochs.
  explicit ModelCheckpoint(ModelCheckpointOptions options = {});

  const ModelCheckpointOptions& options() const { return options_; }
  /// Empty without one. Those that couldn't be written never count.
  const std::filesystem::path& best_model_path() const { return files_.best_path; }
  std::optional<double> best_model_score() const { return files_.best_score; }
  const std::filesystem::path& last_model_path() const { return files_.last.path; }
  /// Those that are kept for their score (without a monitor: their step), best first.
  std::vector<std::pair<std::filesystem::path, double>> best_k_models() const;
  /// The score that a new one must beat; nothing while there is room for it.
  std::optional<double> kth_value() const;
  /// The score of the latest look; nothing without a monitor, and when there was no value.
  std::optional<double> current_score() const { return current_score_; }
  /// Of the options: the epochs that decide; 0 when steps or time do.
  int64_t every_n_epochs() const;

  /// For the end of a fit whose last state isn't on the disk: asks for a checkpoint of it, kept as
  /// the newest. Returns why not and what would change it, or nothing when it asked.
  std::string save_last_state(TrainerContext& trainer);

  void setup(TrainerContext& trainer, LightningModule& module, Stage stage) override;
  void on_train_start(TrainerContext& trainer, LightningModule& module) override;
  void teardown(TrainerContext& trainer, LightningModule& module, Stage stage) override;
  void on_train_batch_start(TrainerContext& trainer, LightningModule& module, const Batch& batch,
                            int64_t batch_idx) override;
  void on_train_batch_end(TrainerContext& trainer, LightningModule& module,
                          const StepOutput& output, const Batch& batch, int64_t batch_idx) override;
  void on_validation_end(TrainerContext& trainer, LightningModule& module) override;
  void on_train_epoch_end(TrainerContext& trainer, LightningModule& module) override;
  std::string state_key() const override;
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;
  bool monitors() const override { return true; }
  /// The monitor and the metrics of the filename; none when it never saves.
  std::vector<MetricDemand> required_metrics() const override;
  bool writes_checkpoints() const override { return true; }

 private:
  struct Written {
    std::filesystem::path path;
    std::string id;  // in its manifest
  };
  struct Kept : Written {
    double score;  // without a monitor: the step
  };
  struct Files {
    std::vector<Kept> kept;  // best first
    std::filesystem::path best_path;
    std::optional<double> best_score;
    Written last;
    int64_t last_saved_step = -1;
  };

  void choose_links(const TrainerContext& trainer);
  bool saves_at_epoch_end(const TrainerContext& trainer) const;
  /// Whether steps or time make a checkpoint due after this step. Every rank must call it.
  bool is_due_in_epoch(TrainerContext& trainer, int64_t step);
  void save(TrainerContext& trainer);
  /// The state has changed without a step: what was judged and saved at this one was another.
  void forget_present_step();
  /// `at_end`: of a fit. Then a metric of the template that was never logged is no error.
  void write(TrainerContext& trainer, const std::optional<double>& fresh_score, bool at_end);
  std::filesystem::path make_path(TrainerContext& trainer, bool at_end) const;
  /// Nothing: there is no value of this step.
  std::optional<double> score(TrainerContext& trainer);
  bool is_better(double a, double b) const;
  bool is_among_best(double fresh_score) const;
  bool is_kept(const std::filesystem::path& path) const;
  /// Whether a checkpoint of this name is its own, or will be.
  bool claims(const std::filesystem::path& path) const;
  /// Notes the new one, with a score in the list of kept ones; returns what has to go.
  std::vector<Written> keep(const Written& fresh, const std::optional<double>& fresh_score);
  /// Takes those beyond save_top_k out of the list.
  std::vector<Written> take_surplus();
  void set_best();
  static std::vector<Kept> read_kept(const StateDict& state);
  static void check_listed_name(std::string_view list, const std::string& name);
  /// Which of them (names without the folder) lie in the folder and are its own. Every rank must
  /// call it.
  std::vector<bool> find_own(const std::vector<Written>& listed) const;
  /// Whether scores of the checkpoint mean something else now; says so.
  bool comparison_changed(const StateDict& state, size_t num_kept) const;

  ModelCheckpointOptions options_;
  std::filesystem::path folder_;
  bool sets_last_link_ = true;
  bool sets_best_link_ = true;
  Files files_;
  int64_t looked_step_ = -1;    // the last step that was judged or saved
  int64_t rejected_step_ = -1;  // the last one that was not among the best
  int64_t step_before_batch_ = -1;
  bool due_at_window_end_ = false;
  std::shared_ptr<TimeTrigger> timer_;  // of train_time_interval, else null
  bool due_by_time_ = false;            // after the validation of this step
  std::optional<double> current_score_;
  bool said_no_score_ = false;
  bool said_in_window_ = false;
  TrainerContext* trainer_ = nullptr;  // between setup() and teardown()
};

}  // namespace lightning
