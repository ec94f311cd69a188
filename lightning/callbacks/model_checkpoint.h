/// ModelCheckpoint: which checkpoints of a run are written and kept.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include <lightning/callbacks/callback.h>
#include <lightning/callbacks/monitor.h>
#include <lightning/config/fields.h>
#include <lightning/util/export.h>

namespace lightning {

struct ModelCheckpointOptions {
  // ---- where
  /// Folder; empty: checkpoints/ in the run's folder, from where a run is continued in place.
  std::filesystem::path dirpath = "";
  /// Template without extension: "{epoch}-{val_loss:.2f}" gives "epoch=3-val_loss=0.41". Known are
  /// epoch, step and every logged metric.
  std::string filename = "{epoch}-{step}";
  // ---- which
  /// Metric that decides which ones are kept; empty: the newest.
  std::string monitor = "";
  MonitorMode mode = MonitorMode::kMin;
  /// How many to keep; -1: all, 0: none.
  int64_t save_top_k = 1;
  /// Also write, and keep until the next one, a checkpoint that isn't among the best.
  bool save_last = false;
  bool save_weights_only = false;
  // ---- when
  /// Every so many optimizer steps; 0: by epochs.
  int64_t every_n_train_steps = 0;
  /// Every so many epochs, or validations when there are several in an epoch; 0: never.
  int64_t every_n_epochs = 1;
};

LIGHTNING_FIELDS(ModelCheckpointOptions,
                 LIGHTNING_FIELD(dirpath, "folder; empty: checkpoints/ in the run's folder"),
                 LIGHTNING_FIELD(filename, "template, such as \"{epoch}-{val_loss:.2f}\""),
                 LIGHTNING_FIELD(monitor,
                                 "metric that decides which ones are kept; empty: the newest"),
                 LIGHTNING_FIELD(mode, "min or max: which values of the metric are better"),
                 LIGHTNING_FIELD(save_top_k, "how many to keep; -1: all, 0: none"),
                 LIGHTNING_FIELD(save_last,
                                 "also keep the newest one when it isn't among the best"),
                 LIGHTNING_FIELD(save_weights_only, "leave out what only a resume needs"),
                 LIGHTNING_FIELD(every_n_train_steps, "save every n optimizer steps; 0: by epochs"),
                 LIGHTNING_FIELD(every_n_epochs, "save every n epochs; 0: never"))

/// In the folder, `last.ckpt` links to the newest checkpoint and, with a monitor, `best.ckpt` to
/// the best. An old checkpoint is removed only after the new one is whole on the disk.
class LIGHTNING_API ModelCheckpoint final : public Callback {
 public:
  using Options = ModelCheckpointOptions;
  /// Throws ConfigError for values out of range and a broken template.
  explicit ModelCheckpoint(ModelCheckpointOptions options = {});

  const ModelCheckpointOptions& options() const { return options_; }
  const std::filesystem::path& best_model_path() const { return best_model_path_; }
  std::optional<double> best_model_score() const { return best_model_score_; }
  const std::filesystem::path& last_model_path() const { return last_model_path_; }

  void setup(TrainerContext& trainer, LightningModule& module, Stage stage) override;
  void on_train_batch_end(TrainerContext& trainer, LightningModule& module,
                          const StepOutput& output, const Batch& batch, int64_t batch_idx) override;
  void on_validation_end(TrainerContext& trainer, LightningModule& module) override;
  void on_train_epoch_end(TrainerContext& trainer, LightningModule& module) override;
  std::string state_key() const override;
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;
  bool monitors() const override { return true; }
  bool writes_checkpoints() const override { return true; }

 private:
  struct Kept {
    std::filesystem::path path;
    double score;  // without a monitor: the step
  };
  void save(TrainerContext& trainer);
  std::filesystem::path make_path(TrainerContext& trainer) const;
  /// Nothing: the metric can't have been logged yet.
  std::optional<double> score(TrainerContext& trainer) const;
  bool is_better(double a, double b) const;
  /// Puts the new one into the list of kept ones; returns what has to go.
  std::vector<std::filesystem::path> keep(const Kept& fresh, bool among_best);

  ModelCheckpointOptions options_;
  std::filesystem::path folder_;
  std::vector<Kept> kept_;  // best first
  std::filesystem::path best_model_path_;
  std::optional<double> best_model_score_;
  std::filesystem::path last_model_path_;
  int64_t last_saved_step_ = -1;
};

}  // namespace lightning
