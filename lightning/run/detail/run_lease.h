/// RunLease: which SLURM job writes into a run folder, and which of its incarnations. A restarted
/// job finds its checkpoints by it; an incarnation that was taken for dead and wakes up (a node
/// that was cut off, a suspended process) finds that it has lost the folder, and writes nothing
/// more.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <lightning/util/error.h>
#include <lightning/util/export.h>

namespace lightning {

/// A fit of a job.
struct LeaseHolder {
  std::string job;      // SlurmJob::identity()
  std::string step;     // of srun; empty without
  int64_t fit = 0;      // number of this fit among those of the program
  int64_t restart = 0;  // SlurmJob::restart_count()

  bool same_fit(const LeaseHolder& other) const {
    return job == other.job && step == other.step && fit == other.fit;
  }
};

/// For rank 0, which is the one that writes. Where another incarnation, or another job, has the run
/// folder now, it throws DistributedError of FailureKind::kLeaseLost.
class LIGHTNING_API RunLease {
 public:
  /// Makes `holder` the one that writes into `run_dir`. Throws when a later incarnation
  /// of it has the folder already.
  RunLease(std::filesystem::path run_dir, LeaseHolder holder);

  /// Throws when this is no longer the holder. Reads a small file.
  void check() const;
  /// The same, at most once in a second.
  void check_now_and_then();

 private:
  std::filesystem::path file_;
  LeaseHolder holder_;
  std::chrono::steady_clock::time_point checked_;
};

/// The newest checkpoint that earlier incarnations of `holder` wrote below default_root_dir;
/// nothing when they wrote none. Checkpoints that other jobs had written into the same folder
/// before aren't theirs.
LIGHTNING_API std::optional<std::filesystem::path> find_own_checkpoint(
    const std::filesystem::path& default_root_dir, const LeaseHolder& holder);

}  // namespace lightning
