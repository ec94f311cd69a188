#include <lightning/run/detail/progress.h>

#include <lightning/util/error.h>

namespace lightning {
namespace {

std::vector<PendingGradients> pending_from(const std::vector<int64_t>& numbers) {
  std::vector<PendingGradients> pending;
  for (const int64_t number : numbers) {
    const auto last = static_cast<int64_t>(PendingGradients::kIncomplete);
    LIGHTNING_CHECK(number >= 0 && number <= last, CheckpointError,
                    "loop: pending_gradients of the checkpoint has ", number, ", expected 0 to ",
                    last, ". HINT: resume from a different checkpoint.");
    pending.push_back(static_cast<PendingGradients>(number));
  }
  return pending;
}

}  // namespace

StateDict to_state_dict(const Progress& progress) {
  StateDict state;
  state.set("epoch", progress.epoch);
  state.set("batch_idx", progress.batch_idx);
  state.set("total_batches", progress.total_batches);
  state.set("global_step", progress.global_step);
  state.set("optimizer_steps", progress.optimizer_steps);
  std::vector<int64_t> pending;
  for (const PendingGradients one : progress.pending_gradients) {
    pending.push_back(static_cast<int64_t>(one));
  }
  state.set("pending_gradients", pending);
  if (progress.accumulate_grad_batches) {
    state.set("accumulate_grad_batches", *progress.accumulate_grad_batches);
    if (progress.accumulation_is_scheduled) state.set("accumulation_is_scheduled", true);
  }
  state.set("samples_seen", progress.samples_seen);
  state.set("elapsed_seconds", progress.elapsed_seconds);
  state.set("validation_batches", progress.validation_batches);
  state.set("validated", progress.validated);
  if (progress.epoch_scheduled) state.set("epoch_scheduled", *progress.epoch_scheduled);
  if (progress.renews_statistics) state.set("renews_statistics", true);
  state.set("position", static_cast<int64_t>(progress.position));
  return state;
}

Progress progress_from(const StateDict& state) {
  Progress progress;
  progress.epoch = state.get<int64_t>("epoch");
  progress.batch_idx = state.get<int64_t>("batch_idx");
  progress.total_batches = state.get<int64_t>("total_batches");
  progress.global_step = state.get<int64_t>("global_step");
  progress.samples_seen = state.get<int64_t>("samples_seen");
  progress.elapsed_seconds = state.get<double>("elapsed_seconds");
  // Not in the first checkpoints that were written.
  if (state.contains("validation_batches")) {
    progress.validation_batches = state.get<std::vector<int64_t>>("validation_batches");
  }
  if (state.contains("optimizer_steps")) {
    progress.optimizer_steps = state.get<std::vector<int64_t>>("optimizer_steps");
    progress.pending_gradients = pending_from(state.get<std::vector<int64_t>>("pending_gradients"));
  }
  if (state.contains("accumulate_grad_batches")) {
    const auto batches = state.get<int64_t>("accumulate_grad_batches");
    LIGHTNING_CHECK(batches >= 1, CheckpointError,
                    "loop: accumulate_grad_batches of the checkpoint is ", batches,
                    ", expected 1 or more. HINT: resume from a different checkpoint.");
    progress.accumulate_grad_batches = batches;
    // Checkpoints of earlier versions don't say it.
    const bool says_who = state.contains("accumulation_is_scheduled");
    progress.accumulation_is_scheduled = says_who && state.get<bool>("accumulation_is_scheduled");
  }
  if (state.contains("validated")) progress.validated = state.get<bool>("validated");
  progress.epoch_scheduled.reset();
  if (state.contains("epoch_scheduled")) {
    progress.epoch_scheduled = state.get<bool>("epoch_scheduled");
  }
  if (state.contains("renews_statistics")) {
    progress.renews_statistics = state.get<bool>("renews_statistics");
  }
  progress.position = static_cast<SafePoint>(state.get<int64_t>("position"));
  return progress;
}

}  // namespace lightning
