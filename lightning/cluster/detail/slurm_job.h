/// SlurmJob: what a run inside a SLURM job asks of it and does to it: its name in checkpoints, its
/// time left, its requeue.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <lightning/cluster/topology.h>
#include <lightning/util/export.h>

namespace lightning {

/// What came of SlurmJob::requeue().
struct RequeueResult {
  bool requeued = false;
  std::string command;  // what was run, or must be run by hand: "scontrol requeue 41"
  std::string problem;  // why it wasn't requeued, for the log; else empty
};

class LIGHTNING_API SlurmJob {
 public:
  /// The job that this process belongs to, however it was started; nothing outside a job and in an
  /// interactive shell, whose job no run may requeue.
  static std::optional<SlurmJob> from_environment(const EnvironmentVariables& variables);

  /// "41", or "40_3" for an element of a job array: scontrol's name for it.
  const std::string& name() const { return name_; }
  /// Goes into every checkpoint: cluster and name, the same after each restart of the job.
  const std::string& identity() const { return identity_; }
  /// How often SLURM started the job again: after a requeue, a preemption, the failure of a node.
  int64_t restart_count() const { return restart_count_; }

  /// Time until SLURM ends the job at its limit; nothing when there is no limit or it is unknown.
  /// From SLURM_JOB_END_TIME, else asks squeue, which takes up to 10 s: for one rank, once.
  std::optional<std::chrono::seconds> time_left() const;

  /// Why the job should not be requeued, or empty: a run that made no step since it was started
  /// would be requeued indefinitely.
  std::string reason_against_requeue(int64_t steps_since_start,
                                     std::optional<int64_t> max_requeues) const;

  /// Whether the SIGTERM that has come means that SLURM takes the job's nodes for another one, and
  /// will start it again once its time of grace is over: but only a job that is still there then.
  /// Asks scontrol, which takes up to 5 s; false without an answer. For one rank.
  bool is_being_preempted() const noexcept;

  /// Asks SLURM to start the job again. For one rank, when all have closed their files: SLURM ends
  /// the whole job within milliseconds, this process too. Takes up to a minute, never throws: when
  /// it fails the checkpoint is there and `command` is what the user has to run.
  RequeueResult requeue() const noexcept;

 private:
  SlurmJob() = default;

  std::string id_;  // of the job, or of the array's element
  std::string name_;
  std::string identity_;
  int64_t restart_count_ = 0;
  std::optional<int64_t> end_time_;  // seconds since 1970
};

/// SLURM's times: "1-02:03:04", "1-02", "02:03:04", "03:04" (minutes and seconds), "3" (minutes).
/// Nothing for UNLIMITED and everything else.
LIGHTNING_API std::optional<std::chrono::seconds> parse_slurm_time(std::string_view text);

}  // namespace lightning
