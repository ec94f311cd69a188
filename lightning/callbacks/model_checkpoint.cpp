#include <lightning/callbacks/model_checkpoint.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include <lightning/callbacks/detail/filename_template.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/checkpoint/detail/names.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

namespace lightning {

namespace fs = std::filesystem;

ModelCheckpoint::ModelCheckpoint(ModelCheckpointOptions options) : options_(std::move(options)) {
  LIGHTNING_CHECK(options_.save_top_k >= -1, ConfigError, "ModelCheckpoint: save_top_k is ",
                  options_.save_top_k, ", expected -1 or more. HINT: use -1 to keep all.");
  LIGHTNING_CHECK(options_.every_n_train_steps >= 0 && options_.every_n_epochs >= 0, ConfigError,
                  "ModelCheckpoint: every_n_train_steps is ", options_.every_n_train_steps,
                  " and every_n_epochs is ", options_.every_n_epochs,
                  ", expected 0 or more. HINT: set one of them.");
  LIGHTNING_CHECK(!options_.monitor.empty() || options_.save_top_k <= 1, ConfigError,
                  "ModelCheckpoint: save_top_k is ", options_.save_top_k,
                  " and there is no monitor to rank them by. HINT: set monitor, or save_top_k "
                  "to -1, 0 or 1.");
  check_filename_template(options_.filename);
}

void ModelCheckpoint::setup(TrainerContext& trainer, LightningModule&, Stage stage) {
  if (stage != Stage::kFit) return;
  folder_ = options_.dirpath.empty() ? trainer.run_dir() / "checkpoints" : options_.dirpath;
  // Now rather than hours later, when the first checkpoint is due.
  if (trainer.is_global_zero()) FileSystem::current().create_directories(folder_);
}

void ModelCheckpoint::on_train_batch_end(TrainerContext& trainer, LightningModule&,
                                         const StepOutput&, const Batch&, int64_t) {
  const int64_t every = options_.every_n_train_steps;
  if (every == 0 || trainer.global_step() == 0 || trainer.global_step() % every != 0) return;
  save(trainer);
}

void ModelCheckpoint::on_validation_end(TrainerContext& trainer, LightningModule&) {
  if (trainer.stage() != Stage::kFit || trainer.sanity_checking()) return;
  if (options_.every_n_train_steps > 0 || trainer.validates_once_per_epoch()) return;
  const int64_t every = options_.every_n_epochs;
  if (every > 0 && (trainer.current_epoch() + 1) % every == 0) save(trainer);
}

void ModelCheckpoint::on_train_epoch_end(TrainerContext& trainer, LightningModule&) {
  if (options_.every_n_train_steps > 0 || !trainer.validates_once_per_epoch()) return;
  const int64_t every = options_.every_n_epochs;
  if (every > 0 && (trainer.current_epoch() + 1) % every == 0) save(trainer);
}

void ModelCheckpoint::save(TrainerContext& trainer) {
  if (options_.save_top_k == 0 && !options_.save_last) return;
  if (trainer.global_step() == last_saved_step_) return;
  const std::optional<double> fresh_score = score(trainer);
  if (!fresh_score) return;
  const bool room =
      options_.save_top_k == -1 || static_cast<int64_t>(kept_.size()) < options_.save_top_k;
  const bool among_best =
      room || (options_.save_top_k > 0 && is_better(*fresh_score, kept_.back().score));
  if (!among_best && !options_.save_last) return;

  // The state that is saved already knows of this checkpoint.
  const fs::path path = make_path(trainer);
  const std::vector<fs::path> obsolete = keep({path, *fresh_score}, among_best);
  last_saved_step_ = trainer.global_step();
  last_model_path_ = path;
  const fs::path best = options_.monitor.empty() ? fs::path() : best_model_path_;
  trainer.save_checkpoint(path, options_.save_weights_only,
                          [folder = folder_, path, best, obsolete] {
                            FileSystem& files = FileSystem::current();
                            files.replace_link(path.filename(), folder / detail::kLastLink);
                            if (!best.empty()) {
                              files.replace_link(best.filename(), folder / detail::kBestLink);
                            }
                            for (const fs::path& old : obsolete) remove_checkpoint(old);
                          });
}

std::vector<fs::path> ModelCheckpoint::keep(const Kept& fresh, bool among_best) {
  std::vector<fs::path> obsolete;
  const auto is_kept = [this](const fs::path& path) {
    return std::any_of(kept_.begin(), kept_.end(), [&](const Kept& k) { return k.path == path; });
  };
  if (!last_model_path_.empty() && !is_kept(last_model_path_)) obsolete.push_back(last_model_path_);
  if (among_best) {
    const auto place = std::find_if(kept_.begin(), kept_.end(),
                                    [&](const Kept& k) { return is_better(fresh.score, k.score); });
    kept_.insert(place, fresh);
    if (options_.save_top_k > 0 && static_cast<int64_t>(kept_.size()) > options_.save_top_k) {
      // Of several that are equally bad, the oldest goes.
      const auto worst = std::find_if(kept_.begin(), kept_.end(),
                                      [&](const Kept& k) { return k.score == kept_.back().score; });
      obsolete.push_back(worst->path);
      kept_.erase(worst);
    }
    best_model_path_ = kept_.front().path;
    if (!options_.monitor.empty()) best_model_score_ = kept_.front().score;
  }
  return obsolete;
}

fs::path ModelCheckpoint::make_path(TrainerContext& trainer) const {
  MetricMap values = trainer.callback_metrics();
  values["epoch"] = static_cast<double>(trainer.current_epoch());
  values["step"] = static_cast<double>(trainer.global_step());
  const std::string name = format_filename(options_.filename, values);
  fs::path path = folder_ / detail::concat(name, detail::kCheckpointSuffix);
  std::error_code error;
  // Committed directories are never replaced.
  for (int version = 1; fs::exists(path, error); ++version) {
    path = folder_ / detail::concat(name, "-v", version, detail::kCheckpointSuffix);
  }
  return path;
}

std::optional<double> ModelCheckpoint::score(TrainerContext& trainer) const {
  // Without a monitor the newest is the best.
  if (options_.monitor.empty()) return static_cast<double>(trainer.global_step());
  const auto value = monitored_value(trainer, "ModelCheckpoint", options_.monitor);
  if (!value || !std::isnan(*value)) return value;
  const double worst = std::numeric_limits<double>::infinity();
  return options_.mode == MonitorMode::kMin ? worst : -worst;
}

bool ModelCheckpoint::is_better(double a, double b) const {
  return options_.monitor.empty() || options_.mode == MonitorMode::kMax ? a > b : a < b;
}

std::string ModelCheckpoint::state_key() const {
  return detail::concat("ModelCheckpoint(monitor=", options_.monitor,
                        ",every_n_train_steps=", options_.every_n_train_steps,
                        ",every_n_epochs=", options_.every_n_epochs, ")");
}

StateDict ModelCheckpoint::state_dict() const {
  StateDict state;
  std::vector<std::string> paths;
  std::vector<double> scores;
  for (const Kept& kept : kept_) {
    paths.push_back(kept.path.filename().string());
    scores.push_back(kept.score);
  }
  // Names without the folder: a run that was moved finds them where it is now.
  state.set("kept_names", std::move(paths));
  state.set("kept_scores", std::move(scores));
  state.set("last_name", last_model_path_.filename().string());
  state.set("last_saved_step", last_saved_step_);
  return state;
}

void ModelCheckpoint::load_state_dict(const StateDict& state) {
  kept_.clear();
  const auto& names = state.get<std::vector<std::string>>("kept_names");
  const auto& scores = state.get<std::vector<double>>("kept_scores");
  std::error_code error;
  for (size_t i = 0; i < names.size(); ++i) {
    // What was removed since, or lies in another folder, is no longer ours to keep or remove.
    if (fs::exists(folder_ / names[i], error)) kept_.push_back({folder_ / names[i], scores[i]});
  }
  const auto& last = state.get<std::string>("last_name");
  last_model_path_ =
      !last.empty() && fs::exists(folder_ / last, error) ? folder_ / last : fs::path();
  last_saved_step_ = state.get<int64_t>("last_saved_step");
  best_model_path_ = kept_.empty() ? fs::path() : kept_.front().path;
  if (!kept_.empty() && !options_.monitor.empty()) best_model_score_ = kept_.front().score;
}

}  // namespace lightning
