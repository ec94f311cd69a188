/// SlurmConnector: what a fit inside a SLURM job does beyond training. It stops before the job
/// ends, by a signal or by the clock, has the job requeued, and resumes where the attempt
/// before stopped. Outside of a job it does nothing.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include <lightning/cluster/detail/slurm_job.h>
#include <lightning/run/detail/run_context.h>
#include <lightning/run/detail/run_lease.h>
#include <lightning/run/detail/signals.h>
#include <lightning/run/detail/stop_control.h>
#include <lightning/run/options.h>
#include <lightning/util/interrupted.h>

namespace lightning {

class SlurmConnector {
 public:
  /// One for each fit of the program, in order: fits are told apart by their number.
  SlurmConnector(const SlurmOptions& options, std::optional<SlurmJob> job);

  bool in_job() const { return job_.has_value(); }
  /// The signal that announces the job's end; 0 outside of a job.
  int requeue_signal() const;

  /// In a restarted job, the newest checkpoint of its earlier incarnations. Every rank must call
  /// it; rank 0 looks.
  std::optional<std::filesystem::path> find_checkpoint(const RunContext& run) const;
  /// Starts the clock, at whose end `stop` stops the run. Rank 0 acts; asking for the time left may
  /// take up to 10 s.
  void begin(const RunContext& run, StopControl& stop) const;
  /// Takes the run folder, where there is one, for this incarnation. Rank 0 acts and gets the
  /// lease.
  std::optional<RunLease> lease(const RunContext& run) const;
  /// This fit of the job; nothing outside of a job.
  std::optional<LeaseHolder> holder() const { return job_ ? std::optional(holder_) : std::nullopt; }

  /// After a fit that was stopped by requeue_signal(), its files closed on every rank: has the job
  /// started again, unless something stands against it (`steps_since_start` is 0, for one). Every
  /// rank must call it. Throws Interrupted with the outcome; exit code 0 when SLURM will
  /// start the job again.
  [[noreturn]] void requeue(const RunContext& run, int64_t steps_since_start,
                            const SignalHandler& signals, const Interrupted& stopped) const;
  /// After a fit that was stopped by SIGTERM: a job that is being preempted is started again only
  /// when it is still there at the end of its time of grace, so this waits for that end. Every rank
  /// must call it. Returns at once in all other cases.
  void wait_for_preemption(const RunContext& run, SignalHandler& signals) const;

 private:
  std::string reason_against_requeue(int64_t steps_since_start, bool ended_by_signal) const;

  SlurmOptions options_;
  std::optional<SlurmJob> job_;
  LeaseHolder holder_;
};

/// Name of a checkpoint written because the job ends: RUN/checkpoints/requeue-epoch=E-step=S.ckpt.
std::filesystem::path requeue_checkpoint_path(const std::filesystem::path& run_dir, int64_t epoch,
                                              int64_t global_step);
/// Removes all requeue checkpoints of a run but the newest two: the last one and, until it has
/// proved itself, the one before.
void rotate_requeue_checkpoints(const std::filesystem::path& run_dir);

}  // namespace lightning
