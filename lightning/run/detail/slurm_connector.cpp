#include <lightning/run/detail/slurm_connector.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <thread>
#include <utility>
#include <vector>

#include <lightning/checkpoint/checkpoint.h>
#include <lightning/checkpoint/detail/names.h>
#include <lightning/run/detail/run_folder.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRequeuePrefix = "requeue-";
constexpr std::chrono::minutes kLongestGrace{30};
constexpr size_t kKeptRequeueCheckpoints = 2;

/// Fits of this process; all ranks run the same ones.
int64_t next_fit() {
  static int64_t fits = 0;
  return fits++;
}

std::string step_of_srun() {
  const char* step = std::getenv("SLURM_STEP_ID");
  return step == nullptr ? "" : step;
}

}  // namespace

SlurmConnector::SlurmConnector(const SlurmOptions& options, std::optional<SlurmJob> job)
    : options_(options), job_(std::move(job)) {
  if (!job_) return;
  holder_ = {.job = job_->identity(),
             .step = step_of_srun(),
             .fit = next_fit(),
             .restart = job_->restart_count()};
}

int SlurmConnector::requeue_signal() const {
  if (!job_) return 0;
  switch (options_.requeue_signal) {
    case RequeueSignal::kUsr2:
      return SIGUSR2;
    case RequeueSignal::kHup:
      return SIGHUP;
    default:
      return SIGUSR1;
  }
}

std::optional<fs::path> SlurmConnector::find_checkpoint(const RunContext& run) const {
  if (!job_ || job_->restart_count() == 0) return std::nullopt;
  std::optional<fs::path> found;
  if (run.is_global_zero()) {
    found = find_own_checkpoint(run.options.user.default_root_dir, holder_);
  }
  const std::string path =
      run.from_rank_zero("checkpoint of this job", found ? found->string() : std::string());
  log_info(
      format("Trainer: job {} was requeued (restart {}), {}", job_->name(), job_->restart_count(),
             path.empty() ? "and had not written a checkpoint yet." : "resuming from " + path));
  if (path.empty()) return std::nullopt;
  return fs::path(path);
}

std::optional<RunLease> SlurmConnector::lease(const RunContext& run) const {
  if (!job_ || !run.is_global_zero() || run.run_dir.empty()) return std::nullopt;
  return RunLease(run.run_dir, holder_);
}

void SlurmConnector::begin(const RunContext& run, StopControl& stop) const {
  if (!job_ || !run.is_global_zero() || options_.stop_before_end.count() == 0) return;
  const std::optional<std::chrono::seconds> left = job_->time_left();
  if (!left) return;
  // A short job should not spend its time on stopping.
  const auto margin = std::min(options_.stop_before_end, *left / 10);
  stop.set_deadline(std::chrono::steady_clock::now() + *left - margin, requeue_signal());
}

std::string SlurmConnector::reason_against_requeue(int64_t steps_since_start,
                                                   bool ended_by_signal) const {
  if (!options_.auto_requeue) return "trainer.slurm.auto_requeue is false";
  // scancel, or a preemption, after which SLURM requeues the job automatically.
  if (ended_by_signal) return "the job received a termination signal";
  return job_->reason_against_requeue(steps_since_start, options_.max_requeues);
}

void SlurmConnector::requeue(const RunContext& run, int64_t steps_since_start,
                             const SignalHandler& signals, const Interrupted& stopped) const {
  std::vector<std::string> pending = {std::to_string(signals.pending())};
  // The barrier after which no rank has a file open, too.
  if (run.world != nullptr) pending = run.world->control().all_gather("requeue", pending.front());
  const bool ended = std::any_of(pending.begin(), pending.end(), [this](const std::string& signal) {
    const int number = std::atoi(signal.c_str());
    return number != 0 && number != requeue_signal();
  });
  const std::string against = reason_against_requeue(steps_since_start, ended);
  bool requeued = false;
  std::string outcome;
  const int exit_code = stopped.exit_code();
  if (!against.empty()) {
    outcome = detail::concat("Job ", job_->name(), " is not requeued: ", against, ".");
  } else if (run.is_global_zero()) {
    // Before the call: after it, SLURM ends the job within milliseconds.
    log_info(format("{}\nTrainer: job {} will be requeued (scontrol requeue {})", stopped.what(),
                    job_->name(), job_->name()));
    const RequeueResult result = job_->requeue();
    requeued = result.requeued;
    outcome = requeued ? "Requeued." : result.problem;
  }
  if (against.empty()) requeued = run.from_rank_zero("requeued", requeued ? "yes" : "no") == "yes";
  if (against.empty()) throw Interrupted(stopped.signal(), outcome, requeued ? 0 : exit_code);
  throw Interrupted(stopped.signal(), detail::concat(stopped.what(), "\n", outcome), exit_code);
}

void SlurmConnector::wait_for_preemption(const RunContext& run, SignalHandler& signals) const {
  if (!job_) return;
  signals.forget();
  const bool preempted = run.is_global_zero() && job_->is_being_preempted();
  if (run.from_rank_zero("preempted", preempted ? "yes" : "no") != "yes") return;
  log_info(
      format("Trainer: job {} is being preempted. A checkpoint was written; waiting for SLURM to "
             "requeue the job.",
             job_->name()));
  // SLURM ends the wait by a signal; the limit is for a job whose preemption was called off.
  const auto end = std::chrono::steady_clock::now() + kLongestGrace;
  while (signals.pending() == 0 && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

fs::path requeue_checkpoint_path(const fs::path& run_dir, int64_t epoch, int64_t global_step) {
  return checkpoints_folder(run_dir) /
         (kRequeuePrefix + detail::checkpoint_name(epoch, global_step));
}

void rotate_requeue_checkpoints(const fs::path& run_dir) {
  std::vector<fs::path> ours;
  for (const fs::path& path : list_checkpoints(checkpoints_folder(run_dir))) {
    if (path.filename().string().starts_with(kRequeuePrefix)) ours.push_back(path);
  }
  for (size_t i = 0; i + kKeptRequeueCheckpoints < ours.size(); ++i) remove_checkpoint(ours[i]);
}

}  // namespace lightning
