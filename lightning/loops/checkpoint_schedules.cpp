// The part of CheckpointConnector that is about LR schedules.
#include <algorithm>
#include <string>
#include <vector>

#include <lightning/loops/checkpoint_connector.h>
#include <lightning/optim/lr_scheduler.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

/// Of what "configured" has of a schedule.
std::string describe_schedule(const StateDict& entry) {
  if (entry.empty()) return "none";
  std::string text =
      detail::concat(entry.get<std::string>("schedule"), " every ", entry.get<int64_t>("frequency"),
                     " ", entry.get<std::string>("interval"), "(s)");
  if (entry.contains("monitor")) text += " by " + entry.get<std::string>("monitor");
  return text;
}

}  // namespace

void CheckpointConnector::dump_schedules(size_t optimizer, StateDict& state) const {
  const LRSchedulers& schedules = run_.context.optimizers[optimizer].lr_scheduler;
  for (size_t k = 0; k < schedules.size(); ++k) {
    optim::LRScheduler& scheduler = *schedules[k].scheduler;
    scheduler.include_new_groups();
    StateDict own = scheduler.state_dict();
    const auto judged = run_.judged_steps.find(&scheduler);
    if (judged != run_.judged_steps.end()) own.set("judged_step", judged->second);
    state.set("lr_scheduler/" + schedule_key(optimizer, k), own);
  }
}

void CheckpointConnector::restore_schedules(size_t optimizer, bool keep_new) {
  const LRSchedulers& schedules = run_.context.optimizers[optimizer].lr_scheduler;
  const bool removed = note_removed_schedules(optimizer, keep_new);
  if (schedules.empty()) return;
  // Those that hold: see restore_optimizer().
  std::vector<double> base_rates;
  for (size_t group = 0; group < schedules[0].scheduler->base_lrs().size(); ++group) {
    base_rates.push_back(
        configured_.get<double>(detail::concat("optimizer/", optimizer, "/groups/", group, "/lr")));
  }
  bool changed = removed || keep_new;
  for (size_t k = 0; k < schedules.size(); ++k) {
    changed |= restore_schedule(schedules[k], schedule_key(optimizer, k), base_rates);
  }
  // Else the rates are those of the checkpoint, which a callback may have set.
  if (!changed) return;
  optim::LRScheduler& first = *schedules[0].scheduler;
  first.resume_at(first.step_count(), base_rates);
}

bool CheckpointConnector::note_removed_schedules(size_t optimizer, bool keep_new) {
  const LRSchedulers& schedules = run_.context.optimizers[optimizer].lr_scheduler;
  bool any = false;
  for (size_t k = schedules.size();; ++k) {
    const std::string key = schedule_key(optimizer, k);
    const StateDict saved = checkpoint_.state.nested("lr_scheduler/" + key);
    if (saved.empty()) return any;
    const StateDict before = checkpoint_.state.nested("configured/lr_scheduler/" + key);
    const char* outcome = "the others' product is used";
    if (schedules.empty()) {
      outcome = keep_new ? "the config's learning rate is used"
                         : "the learning rate stays where the checkpoint has it";
    }
    changes_.add_schedule(before.empty() ? "one" : describe_schedule(before), "none", outcome);
    any = true;
  }
}

bool CheckpointConnector::restore_schedule(const LRSchedulerConfig& schedule,
                                           const std::string& key,
                                           const std::vector<double>& base_rates) {
  const StateDict saved = checkpoint_.state.nested("lr_scheduler/" + key);
  // A callback may have taken out what was configured (StochasticWeightAveraging): it goes to
  // its place in the run, as a different schedule does.
  const StateDict before =
      saved.empty() ? StateDict() : checkpoint_.state.nested("configured/lr_scheduler/" + key);
  const StateDict now = configured_.nested("lr_scheduler/" + key);
  // Checkpoints of earlier versions don't say which schedule they have the state of.
  const bool unknown = before.empty() && !saved.empty();
  if (unknown || describe_schedule(before) == describe_schedule(now)) {
    load_schedule(schedule, saved);
    return false;
  }
  if (schedule.scheduler->watches_metric()) {
    // What it would have judged is not known.
    schedule.scheduler->resume_at(0, base_rates);
    changes_.add_schedule(describe_schedule(before), describe_schedule(now),
                          "the config's is used, from here on");
    return true;
  }
  const int64_t count = completed_intervals(schedule, key);
  schedule.scheduler->resume_at(count, base_rates);
  changes_.add_schedule(describe_schedule(before), describe_schedule(now),
                        detail::concat("the config's is used, as if it had made ", count,
                                       count == 1 ? " step" : " steps"));
  return true;
}

void CheckpointConnector::load_schedule(const LRSchedulerConfig& schedule, const StateDict& saved) {
  schedule.scheduler->load_state_dict(saved);
  if (!saved.contains("judged_step")) return;
  const auto judged = saved.get<int64_t>("judged_step");
  LIGHTNING_CHECK(judged >= 0 && judged <= run_.progress.global_step, CheckpointError,
                  "lr_scheduler: the checkpoint has judged_step ", judged, ", expected 0 to ",
                  run_.progress.global_step,
                  ", its global step. HINT: resume from a different "
                  "checkpoint.");
  run_.judged_steps[schedule.scheduler.get()] = judged;
}

int64_t CheckpointConnector::completed_intervals(const LRSchedulerConfig& schedule,
                                                 const std::string& key) const {
  const StateDict saved = checkpoint_.state.nested("lr_scheduler/" + key);
  const StateDict before = checkpoint_.state.nested("configured/lr_scheduler/" + key);
  const StateDict now = configured_.nested("lr_scheduler/" + key);
  // The schedule steps with the epoch's last batch, before the epoch is counted.
  int64_t epochs = run_.progress.epoch + (run_.progress.epoch_scheduled.value_or(false) ? 1 : 0);
  // One that watched a metric stepped with its values, whatever the interval.
  if (!before.empty() && !saved.empty() && !before.contains("monitor")) {
    const auto count = saved.get<int64_t>("step_count");
    const auto frequency = before.get<int64_t>("frequency");
    const auto interval = before.get<std::string>("interval");
    if (interval == now.get<std::string>("interval") && frequency == schedule.frequency) {
      return count;
    }
    if (interval == "epoch") epochs = std::max(epochs, count * frequency);
  }
  const int64_t all = schedule.interval == Interval::kStep ? run_.progress.global_step : epochs;
  return all / schedule.frequency;
}

}  // namespace lightning
