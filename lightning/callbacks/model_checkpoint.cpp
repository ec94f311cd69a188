#include <lightning/callbacks/model_checkpoint.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <set>
#include <utility>

#include <lightning/callbacks/detail/filename_template.h>
#include <lightning/callbacks/detail/time_trigger.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/checkpoint/detail/manifest.h>
#include <lightning/checkpoint/detail/names.h>
#include <lightning/config/detail/duration.h>
#include <lightning/util/detail/disk.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

namespace fs = std::filesystem;

/// More than a run writes: what a file lists beyond it is no list of checkpoints.
constexpr size_t kMostKept = 1'000'000;

/// 32 hexadecimal digits that no other checkpoint has, of whatever run. Not from the generators of
/// torch, which a run repeats.
std::string new_id() {
  std::random_device device;
  std::string id;
  for (int i = 0; i < 4; ++i) {
    std::array<char, 9> digits;
    std::snprintf(digits.data(), digits.size(), "%08x", device());
    id += digits.data();
  }
  return id;
}

/// The id of the checkpoint in `directory`; nothing without a sound one.
std::optional<std::string> id_of(const fs::path& directory) {
  if (detail::kind_of_entry(directory) != detail::FileKind::kFolder) return std::nullopt;
  try {
    return detail::read_manifest(directory).id;
  } catch (const CheckpointError&) {
    return std::nullopt;
  }
}

/// Removes it, unless something else lies under its name by now.
void remove_own(const fs::path& directory, const std::string& id) {
  if (!detail::entry_exists(directory)) return;
  if (id_of(directory) == id) {
    remove_checkpoint(directory);
  } else {
    log_warning(detail::concat("ModelCheckpoint: ", directory.string(),
                               " is not the checkpoint that it wrote there, so it stays."));
  }
}

fs::path folder_of(const TrainerContext& trainer, const ModelCheckpointOptions& options) {
  return options.dirpath.empty() ? trainer.run_dir() / "checkpoints" : options.dirpath;
}

/// Whether the present epoch renews BatchNorm's statistics
/// (TrainerContext::renew_statistics_at_end): each of its batches makes another state, and none a
/// step.
bool renews_statistics(const TrainerContext& trainer) {
  const std::optional<int64_t> max_epochs = trainer.max_epochs();
  return max_epochs && trainer.current_epoch() >= *max_epochs;
}

fs::path normal(const fs::path& folder) {
  return detail::absolute_path(folder / "").lexically_normal();
}

}  // namespace

ModelCheckpoint::ModelCheckpoint(ModelCheckpointOptions options) : options_(std::move(options)) {
  LIGHTNING_CHECK(options_.save_top_k >= -1, ConfigError, "ModelCheckpoint: save_top_k is ",
                  options_.save_top_k, ", expected -1 or more. HINT: use -1 to keep all.");
  const int64_t epochs = options_.every_n_epochs.value_or(0);
  LIGHTNING_CHECK(options_.every_n_train_steps >= 0 && epochs >= 0, ConfigError,
                  "ModelCheckpoint: every_n_train_steps is ", options_.every_n_train_steps,
                  " and every_n_epochs is ", epochs,
                  ", expected 0 or more. HINT: set one of them.");
  const auto interval = options_.train_time_interval.value_or(std::chrono::milliseconds(0));
  LIGHTNING_CHECK(!options_.train_time_interval || interval.count() > 0, ConfigError,
                  "ModelCheckpoint: train_time_interval is ", config::duration_text(interval),
                  ", expected more than 0. HINT: leave it out to save by steps or epochs.");
  const int triggers = (options_.every_n_train_steps > 0 ? 1 : 0) +
                       (options_.train_time_interval ? 1 : 0) + (epochs > 0 ? 1 : 0);
  LIGHTNING_CHECK(triggers <= 1, ConfigError, "ModelCheckpoint: every_n_train_steps is ",
                  options_.every_n_train_steps, ", train_time_interval is ",
                  options_.train_time_interval ? config::duration_text(interval) : "null",
                  " and every_n_epochs is ", epochs,
                  ", expected one of them. HINT: give each its own ModelCheckpoint.");
  LIGHTNING_CHECK(!options_.monitor.empty() || options_.save_top_k <= 1, ConfigError,
                  "ModelCheckpoint: save_top_k is ", options_.save_top_k,
                  " and there is no monitor to rank them by. HINT: set monitor, or save_top_k "
                  "to -1, 0 or 1.");
  check_filename_template(options_.filename);
}

void ModelCheckpoint::setup(TrainerContext& trainer, LightningModule&, Stage stage) {
  if (stage != Stage::kFit) return;
  // What was written, kept and judged belongs to one fit.
  files_ = {};
  looked_step_ = -1;
  rejected_step_ = -1;
  step_before_batch_ = -1;
  due_at_window_end_ = false;
  due_by_time_ = false;
  timer_ = options_.train_time_interval
               ? std::make_shared<TimeTrigger>(*options_.train_time_interval)
               : nullptr;
  current_score_.reset();
  said_no_score_ = false;
  said_in_window_ = false;
  trainer_ = &trainer;
  folder_ = folder_of(trainer, options_);
  choose_links(trainer);
  // Now rather than hours later, when the first checkpoint is due.
  if (!trainer.is_global_zero()) return;
  make_writable_folder_of_option(
      options_.dirpath.empty() ? "Trainer: default_root_dir" : "ModelCheckpoint: dirpath", folder_);
}

void ModelCheckpoint::on_train_start(TrainerContext& trainer, LightningModule&) {
  if (timer_ != nullptr) timer_->start(trainer.global_step());
}

int64_t ModelCheckpoint::every_n_epochs() const {
  const bool others = options_.every_n_train_steps > 0 || options_.train_time_interval;
  return options_.every_n_epochs.value_or(others ? 0 : 1);
}

bool ModelCheckpoint::saves_at_epoch_end(const TrainerContext& trainer) const {
  return options_.save_on_train_epoch_end.value_or(trainer.validates_once_per_epoch());
}

bool ModelCheckpoint::is_due_in_epoch(TrainerContext& trainer, int64_t step) {
  if (timer_ != nullptr && timer_->is_due(trainer, step)) due_by_time_ = true;
  const int64_t every = options_.every_n_train_steps;
  return every > 0 ? step % every == 0 : due_by_time_ || due_at_window_end_;
}

void ModelCheckpoint::teardown(TrainerContext&, LightningModule&, Stage) { trainer_ = nullptr; }

void ModelCheckpoint::choose_links(const TrainerContext& trainer) {
  // Several may write into one folder: last.ckpt is for those from which a fit can resume,
  // best.ckpt for the first that ranks.
  sets_last_link_ = true;
  sets_best_link_ = !options_.monitor.empty();
  bool before = true;
  for (const auto& callback : trainer.callbacks()) {
    const auto* other = dynamic_cast<const ModelCheckpoint*>(callback.get());
    if (other == this) before = false;
    if (other == nullptr || other == this) continue;
    if (normal(folder_of(trainer, other->options_)) != normal(folder_)) continue;
    if (options_.save_weights_only && !other->options_.save_weights_only) sets_last_link_ = false;
    if (before && !other->options_.monitor.empty()) sets_best_link_ = false;
  }
}

void ModelCheckpoint::on_train_batch_start(TrainerContext& trainer, LightningModule&, const Batch&,
                                           int64_t) {
  step_before_batch_ = trainer.global_step();
}

void ModelCheckpoint::on_train_batch_end(TrainerContext& trainer, LightningModule&,
                                         const StepOutput&, const Batch&, int64_t) {
  if (renews_statistics(trainer)) return forget_present_step();
  const int64_t step = trainer.global_step();
  // Not in the middle of an accumulation window, where the step is that of the window before.
  if (step == step_before_batch_) return;
  const bool due = is_due_in_epoch(trainer, step);
  // After the validation of this step, which scores it.
  if (due && !trainer.validation_follows()) save(trainer);
}

void ModelCheckpoint::forget_present_step() {
  looked_step_ = -1;
  rejected_step_ = -1;
  files_.last_saved_step = -1;
}

void ModelCheckpoint::on_validation_end(TrainerContext& trainer, LightningModule&) {
  if (trainer.stage() != Stage::kFit || trainer.sanity_checking()) return;
  const int64_t step = trainer.global_step();
  const int64_t every_step = options_.every_n_train_steps;
  const int64_t every = every_n_epochs();
  if (every > 0 && saves_at_epoch_end(trainer)) return;
  bool due = every > 0 && (trainer.current_epoch() + 1) % every == 0;
  if (every_step > 0) due = step > 0 && step % every_step == 0;
  if (timer_ != nullptr) due = due_by_time_;
  if (!due) return;
  if (step != step_before_batch_ || renews_statistics(trainer)) return save(trainer);
  // A checkpoint holds the state at the window's end, which this validation didn't see.
  if (every_step > 0 || timer_ != nullptr) return;
  due_at_window_end_ = true;
  if (options_.monitor.empty() || std::exchange(said_in_window_, true)) return;
  log_warning(
      "ModelCheckpoint: a validation came in the middle of an accumulation window; the checkpoint "
      "at the window's end has no score. HINT: make val_check_interval a multiple of "
      "accumulate_grad_batches.");
}

void ModelCheckpoint::on_train_epoch_end(TrainerContext& trainer, LightningModule&) {
  const int64_t every = every_n_epochs();
  if (!saves_at_epoch_end(trainer)) return;
  if (every > 0 && (trainer.current_epoch() + 1) % every == 0) save(trainer);
}

void ModelCheckpoint::save(TrainerContext& trainer) {
  due_by_time_ = false;
  if (options_.save_top_k == 0 && !options_.save_last) return;
  const int64_t step = trainer.global_step();
  if (step == looked_step_ || step == files_.last_saved_step) return;
  looked_step_ = step;
  due_at_window_end_ = false;
  const std::optional<double> fresh_score = score(trainer);
  current_score_ = options_.monitor.empty() ? std::nullopt : fresh_score;
  // Without a score it is kept as the newest, until the next one.
  if (!fresh_score || is_among_best(*fresh_score) || options_.save_last) {
    write(trainer, fresh_score, /*at_end=*/false);
    return;
  }
  rejected_step_ = step;
  const std::vector<Written> surplus = take_surplus();
  if (surplus.empty() || !trainer.is_global_zero()) return;
  for (const Written& old : surplus) remove_own(old.path, old.id);
}

std::string ModelCheckpoint::save_last_state(TrainerContext& trainer) {
  if (options_.save_weights_only) {
    return "ModelCheckpoint writes weights only. HINT: set save_weights_only: false.";
  }
  if (options_.save_top_k == 0 && !options_.save_last) {
    return "save_top_k of ModelCheckpoint is 0. HINT: set save_last: true.";
  }
  const int64_t step = trainer.global_step();
  if (rejected_step_ == step) {
    return detail::concat("its ", options_.monitor, " was not among the best ", options_.save_top_k,
                          " of ModelCheckpoint. HINT: set save_last: true.");
  }
  const bool ranked = options_.monitor.empty() && options_.save_top_k != 0;
  write(trainer, ranked ? std::optional(static_cast<double>(step)) : std::nullopt,
        /*at_end=*/true);
  return {};
}

void ModelCheckpoint::write(TrainerContext& trainer, const std::optional<double>& fresh_score,
                            bool at_end) {
  const Files before = files_;
  // The state that is saved already knows of this checkpoint.
  const Written fresh = {make_path(trainer, at_end), new_id()};
  const std::vector<Written> obsolete = keep(fresh, fresh_score);
  files_.last = fresh;
  files_.last_saved_step = trainer.global_step();

  CheckpointRequest request;
  request.path = fresh.path;
  request.weights_only = options_.save_weights_only;
  request.id = fresh.id;
  const fs::path last = sets_last_link_ ? fresh.path : fs::path();
  const fs::path best = sets_best_link_ ? files_.best_path : fs::path();
  const std::string report = options_.verbose ? fresh.path.string() : std::string();
  request.committed = [folder = folder_, last, best, obsolete, report] {
    FileSystem& files = FileSystem::current();
    if (!last.empty()) files.replace_link(last.filename(), folder / detail::kLastLink);
    if (!best.empty()) files.replace_link(best.filename(), folder / detail::kBestLink);
    for (const Written& old : obsolete) remove_own(old.path, old.id);
    if (!report.empty()) log_info("ModelCheckpoint: wrote " + report + ".");
  };
  // What was not written is neither the best nor the last, and all that was there still is.
  request.failed = [this, before] { files_ = before; };
  trainer.save_checkpoint(std::move(request));
}

bool ModelCheckpoint::is_kept(const fs::path& path) const {
  return std::any_of(files_.kept.begin(), files_.kept.end(),
                     [&](const Kept& kept) { return kept.path == path; });
}

bool ModelCheckpoint::is_among_best(double fresh_score) const {
  const int64_t top_k = options_.save_top_k;
  if (top_k == -1) return true;
  // After a resume with a lower save_top_k there are more of them.
  if (static_cast<int64_t>(files_.kept.size()) < top_k) return true;
  return top_k > 0 && is_better(fresh_score, files_.kept[static_cast<size_t>(top_k) - 1].score);
}

std::vector<ModelCheckpoint::Written> ModelCheckpoint::keep(
    const Written& fresh, const std::optional<double>& fresh_score) {
  std::vector<Written> obsolete;
  const bool keeps_all = options_.save_top_k == -1;
  if (!files_.last.path.empty() && !keeps_all && !is_kept(files_.last.path)) {
    obsolete.push_back(files_.last);
  }
  if (fresh_score && is_among_best(*fresh_score)) {
    const auto place = std::find_if(files_.kept.begin(), files_.kept.end(), [&](const Kept& kept) {
      return is_better(*fresh_score, kept.score);
    });
    files_.kept.insert(place, Kept{fresh, *fresh_score});
  }
  for (Written& worst : take_surplus()) obsolete.push_back(std::move(worst));
  set_best();
  return obsolete;
}

std::vector<ModelCheckpoint::Written> ModelCheckpoint::take_surplus() {
  std::vector<Written> surplus;
  if (options_.save_top_k == -1) return surplus;
  while (static_cast<int64_t>(files_.kept.size()) > options_.save_top_k) {
    // Of several that are equally bad, the oldest goes.
    const auto worst = std::find_if(files_.kept.begin(), files_.kept.end(), [&](const Kept& kept) {
      return kept.score == files_.kept.back().score;
    });
    surplus.push_back(*worst);
    files_.kept.erase(worst);
  }
  return surplus;
}

void ModelCheckpoint::set_best() {
  files_.best_path = files_.kept.empty() ? fs::path() : files_.kept.front().path;
  files_.best_score = files_.kept.empty() || options_.monitor.empty()
                          ? std::nullopt
                          : std::optional(files_.kept.front().score);
}

std::vector<std::pair<fs::path, double>> ModelCheckpoint::best_k_models() const {
  std::vector<std::pair<fs::path, double>> models;
  for (const Kept& kept : files_.kept) models.emplace_back(kept.path, kept.score);
  return models;
}

std::optional<double> ModelCheckpoint::kth_value() const {
  const auto count = static_cast<int64_t>(files_.kept.size());
  const bool is_full = options_.save_top_k > 0 && count >= options_.save_top_k;
  if (!is_full || options_.monitor.empty()) return std::nullopt;
  return files_.kept[static_cast<size_t>(options_.save_top_k) - 1].score;
}

bool ModelCheckpoint::claims(const fs::path& path) const {
  return files_.last.path == path || is_kept(path);
}

fs::path ModelCheckpoint::make_path(TrainerContext& trainer, bool at_end) const {
  const int64_t step = trainer.global_step();
  FilenameValues values;
  for (const auto& [name, value] : trainer.callback_metrics()) {
    // An older value says nothing about this state.
    const bool stale = trainer.metric_step(name).value_or(-1) < step;
    values[name] = stale ? std::nullopt : std::optional(value);
  }
  if (at_end || trainer.awaits_validation()) {
    for (const std::string& name : names_in_template(options_.filename)) {
      values.try_emplace(name, std::nullopt);
    }
  }
  // After its last batch an epoch is counted; its checkpoints are named by it all the same.
  const bool counted = at_end && trainer.batch_idx() == 0;
  values["epoch"] = static_cast<double>(trainer.current_epoch() - (counted ? 1 : 0));
  values["step"] = static_cast<double>(step);
  const std::string name =
      format_filename(options_.filename, values, options_.auto_insert_metric_name);
  // Also those that are still to be written, by this or a different callback.
  const auto is_taken = [&](const fs::path& path) {
    if (detail::entry_exists(path) || claims(path)) return true;
    return std::any_of(trainer.callbacks().begin(), trainer.callbacks().end(),
                       [&](const auto& callback) {
                         const auto* other = dynamic_cast<const ModelCheckpoint*>(callback.get());
                         return other != nullptr && other->claims(path);
                       });
  };
  fs::path path = folder_ / detail::concat(name, detail::kCheckpointSuffix);
  // Committed directories are never replaced.
  for (int version = 1; is_taken(path); ++version) {
    path = folder_ / detail::concat(name, "-v", version, detail::kCheckpointSuffix);
  }
  if (trainer.world_size() == 1) return path;
  // Only rank 0 sees for certain what is there.
  return folder_ / trainer.all_gather_bytes("name of a checkpoint", path.filename().string())[0];
}

std::optional<double> ModelCheckpoint::score(TrainerContext& trainer) {
  // Without a monitor the newest is the best.
  if (options_.monitor.empty()) return static_cast<double>(trainer.global_step());
  if (trainer.awaits_validation() && !trainer.callback_metrics().contains(options_.monitor)) {
    if (!std::exchange(said_no_score_, true)) {
      log_warning(detail::concat(
          "ModelCheckpoint: ", options_.monitor,
          " has not been logged yet because no validation has run; until then checkpoints have no "
          "score, and only the newest of them is kept."));
    }
    return std::nullopt;
  }
  const auto value = monitored_value(trainer, "ModelCheckpoint", options_.monitor);
  if (!value) return value;
  // A value of earlier weights.
  if (trainer.metric_step(options_.monitor).value_or(-1) < trainer.global_step()) {
    return std::nullopt;
  }
  if (!std::isnan(*value)) return value;
  const double worst = std::numeric_limits<double>::infinity();
  return options_.mode == MonitorMode::kMin ? worst : -worst;
}

bool ModelCheckpoint::is_better(double a, double b) const {
  return options_.monitor.empty() || options_.mode == MonitorMode::kMax ? a > b : a < b;
}

std::vector<MetricDemand> ModelCheckpoint::required_metrics() const {
  const bool is_ever_due =
      options_.every_n_train_steps > 0 || options_.train_time_interval || every_n_epochs() > 0;
  if (!is_ever_due || (options_.save_top_k == 0 && !options_.save_last)) return {};
  const int64_t every = std::max<int64_t>(every_n_epochs(), 1);
  std::vector<MetricDemand> demands;
  if (!options_.monitor.empty()) {
    demands.push_back({options_.monitor, "ModelCheckpoint: monitor", every});
  }
  for (std::string& name : names_in_template(options_.filename)) {
    if (name == "epoch" || name == "step") continue;
    demands.push_back({std::move(name), "ModelCheckpoint: a metric of filename", every});
  }
  return demands;
}

std::string ModelCheckpoint::state_key() const {
  // Keys grow at their ends only, so that states of earlier versions are found.
  const std::string time =
      options_.train_time_interval
          ? ",train_time_interval=" + config::duration_text(*options_.train_time_interval)
          : "";
  return detail::concat(
      "ModelCheckpoint(monitor=", options_.monitor,
      ",every_n_train_steps=", options_.every_n_train_steps,
      ",every_n_epochs=", options_.every_n_epochs.value_or(1), ",mode=", to_string(options_.mode),
      ",save_weights_only=", options_.save_weights_only ? "true" : "false",
      ",dirpath=", options_.dirpath.string(), ",filename=", options_.filename, time, ")");
}

StateDict ModelCheckpoint::state_dict() const {
  StateDict state;
  std::vector<std::string> names;
  std::vector<std::string> ids;
  std::vector<double> scores;
  for (const Kept& kept : files_.kept) {
    names.push_back(kept.path.filename().string());
    ids.push_back(kept.id);
    scores.push_back(kept.score);
  }
  // Names without the folder: a run that was moved finds them where it is now.
  state.set("kept_names", std::move(names));
  state.set("kept_scores", std::move(scores));
  state.set("kept_ids", std::move(ids));
  state.set("last_name", files_.last.path.filename().string());
  state.set("last_id", files_.last.id);
  state.set("last_saved_step", files_.last_saved_step);
  state.set("looked_step", looked_step_);
  state.set("monitor", options_.monitor);
  state.set("dirpath", options_.dirpath.string());
  state.set("mode", std::string(to_string(options_.mode)));
  state.set("save_top_k", options_.save_top_k);
  return state;
}

std::vector<ModelCheckpoint::Kept> ModelCheckpoint::read_kept(const StateDict& state) {
  const auto& names = state.get<std::vector<std::string>>("kept_names");
  const auto& scores = state.get<std::vector<double>>("kept_scores");
  // The first checkpoints that were written have no ids, neither here nor in their manifests.
  const std::vector<std::string> ids = state.contains("kept_ids")
                                           ? state.get<std::vector<std::string>>("kept_ids")
                                           : std::vector<std::string>(names.size());
  LIGHTNING_CHECK(
      names.size() == scores.size() && names.size() == ids.size() && names.size() <= kMostKept,
      CheckpointError, "ModelCheckpoint: the checkpoint lists ", names.size(), " names, ",
      scores.size(), " scores and ", ids.size(),
      " ids of kept checkpoints, expected as many of each and at most ", kMostKept,
      ". HINT: resume from a different checkpoint.");
  std::vector<Kept> kept;
  std::set<std::string> seen;
  for (size_t i = 0; i < names.size(); ++i) {
    check_listed_name("kept_names", names[i]);
    LIGHTNING_CHECK(!std::isnan(scores[i]) && seen.insert(names[i]).second, CheckpointError,
                    "ModelCheckpoint: the checkpoint lists \"", names[i], "\" with the score ",
                    scores[i],
                    ", expected each name once and a score that is a number. HINT: "
                    "resume from a different checkpoint.");
    kept.push_back({Written{names[i], ids[i]}, scores[i]});
  }
  return kept;
}

void ModelCheckpoint::check_listed_name(std::string_view list, const std::string& name) {
  LIGHTNING_CHECK(detail::is_name_in_folder(name), CheckpointError, "ModelCheckpoint: ", list,
                  " of the checkpoint has \"", name,
                  "\", expected the name of a checkpoint in the same folder. HINT: resume from a "
                  "checkpoint that this library wrote.");
}

void ModelCheckpoint::load_state_dict(const StateDict& state) {
  // All of it is checked before anything is changed.
  std::vector<Kept> kept = read_kept(state);
  Written last = {state.get<std::string>("last_name"), {}};
  if (state.contains("last_id")) last.id = state.get<std::string>("last_id");
  if (!last.path.empty()) check_listed_name("last_name", last.path.string());
  const auto last_saved_step = state.get<int64_t>("last_saved_step");

  files_ = {};
  files_.last_saved_step = last_saved_step;
  looked_step_ = state.contains("looked_step") ? state.get<int64_t>("looked_step") : -1;
  if (comparison_changed(state, kept.size())) {
    // Those of the old comparison are no longer ours to remove.
    const bool was_kept = std::any_of(kept.begin(), kept.end(),
                                      [&](const Kept& entry) { return entry.path == last.path; });
    if (was_kept) last = {};
    kept.clear();
  }
  std::vector<Written> listed(kept.begin(), kept.end());
  listed.push_back(last);
  const std::vector<bool> there = find_own(listed);
  for (size_t i = 0; i < kept.size(); ++i) {
    if (!there[i]) continue;
    kept[i].path = folder_ / kept[i].path;
    files_.kept.push_back(std::move(kept[i]));
  }
  if (there.back()) files_.last = {folder_ / last.path, last.id};
  if (const size_t lost = kept.size() - files_.kept.size(); lost > 0) {
    log_info(detail::concat("ModelCheckpoint: ", lost, " of the ", kept.size(),
                            " checkpoints kept so far are no longer in ", folder_.string(),
                            "; the comparison continues without them."));
  }
  std::stable_sort(files_.kept.begin(), files_.kept.end(),
                   [this](const Kept& a, const Kept& b) { return is_better(a.score, b.score); });
  set_best();
  const auto count = static_cast<int64_t>(files_.kept.size());
  if (options_.save_top_k >= 0 && count > options_.save_top_k) {
    log_info(detail::concat("ModelCheckpoint: save_top_k is ", options_.save_top_k, " now and ",
                            count,
                            " checkpoints are kept; the others are removed when the next "
                            "one is due."));
  }
}

std::vector<bool> ModelCheckpoint::find_own(const std::vector<Written>& listed) const {
  // What was removed since, lies in another folder or was written by another one under the same
  // name is no longer ours to keep or remove.
  std::string found;
  for (const Written& entry : listed) {
    const bool own = !entry.path.empty() && id_of(folder_ / entry.path) == entry.id;
    found += own ? '1' : '0';
  }
  // All ranks decide on the same list; rank 0 writes, so it knows.
  if (trainer_ != nullptr && trainer_->world_size() > 1) {
    found = trainer_->all_gather_bytes("kept checkpoints", found)[0];
  }
  std::vector<bool> there(listed.size());
  for (size_t i = 0; i < listed.size(); ++i) there[i] = i < found.size() && found[i] == '1';
  return there;
}

bool ModelCheckpoint::comparison_changed(const StateDict& state, size_t num_kept) const {
  const auto was = [&](const char* name, std::string_view now) {
    return state.contains(name) ? state.get<std::string>(name) : std::string(now);
  };
  const std::string monitor = was("monitor", options_.monitor);
  const std::string mode = was("mode", to_string(options_.mode));
  // Without a monitor the newest is the best, whatever the mode is.
  const bool same_mode = mode == to_string(options_.mode) || options_.monitor.empty();
  const std::string dirpath = was("dirpath", options_.dirpath.string());
  if (monitor == options_.monitor && same_mode) {
    if (dirpath == options_.dirpath.string()) return false;
    const auto place = [](const std::string& path) {
      return path.empty() ? std::string("that of the run") : path;
    };
    log_warning(detail::concat("ModelCheckpoint: dirpath was ", place(dirpath), " and is ",
                               place(options_.dirpath.string()),
                               "; the comparison starts anew, and the ", num_kept,
                               " checkpoints kept so far stay."));
    return true;
  }
  const auto named = [](const std::string& metric, std::string_view of_mode) {
    return metric.empty() ? std::string("none") : detail::concat(metric, " (", of_mode, ")");
  };
  log_warning(detail::concat("ModelCheckpoint: monitor was ", named(monitor, mode), " and is ",
                             named(options_.monitor, to_string(options_.mode)),
                             "; the comparison starts anew, and the ", num_kept,
                             " checkpoints kept so far stay."));
  return true;
}

}  // namespace lightning
