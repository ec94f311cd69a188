/// FolderLease: one run at a time writes into a folder.
///
/// A file in the folder names the holder, who keeps it locked (flock) and changes its time every
/// few seconds. The kernel gives the lock up with the process, however that ends, so on one machine
/// what it says is what is true: a stopped process holds it, a killed one doesn't. From a
/// different machine, where locks may not reach, a holder counts as gone when the time of the file
/// stands still for a while.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <lightning/run/detail/run_lease.h>
#include <lightning/util/export.h>

namespace lightning {

struct LeaseTimes {
  std::chrono::milliseconds sign_of_life = std::chrono::seconds(10);
  /// How long a holder on a different machine is watched for one.
  std::chrono::milliseconds watched = std::chrono::seconds(40);
};

class LIGHTNING_API FolderLease {
 public:
  /// The folder must be there. Throws ConfigError, which names the holder, when a different run
  /// has it; nothing was changed then. A lease that was left by a run which is gone is taken over
  /// with a line that says so; so is that of an earlier incarnation of `job`, alive or not.
  explicit FolderLease(std::filesystem::path folder, std::optional<LeaseHolder> job = {},
                       LeaseTimes times = {});
  ~FolderLease();  // the folder is free again, and the file gone
  FolderLease(FolderLease&& other) noexcept;
  FolderLease& operator=(FolderLease&&) = delete;

  const std::filesystem::path& folder() const { return folder_; }
  /// Throws DistributedError of FailureKind::kLeaseLost when another run has taken it over. Reads a
  /// small file; one that is gone is no reason to stop.
  void check() const;
  void give_sign_of_life() const;

 private:
  std::filesystem::path folder_;
  std::string text_;
  pid_t owner_;  // a copy of the process made by fork() doesn't give up what is its parent's
  int descriptor_ = -1;
};

/// All that a run holds: the folders that it writes into and, inside a SLURM job, the record of the
/// job. For rank 0, which is the one that writes; on others it is empty.
class LIGHTNING_API RunLeases {
 public:
  RunLeases() = default;
  ~RunLeases();
  RunLeases(const RunLeases&) = delete;
  RunLeases& operator=(const RunLeases&) = delete;

  /// Each folder once, whatever path leads to it. Throws as FolderLease does, and holds what it
  /// held before then.
  void take(const std::vector<std::filesystem::path>& folders,
            const std::optional<LeaseHolder>& job = {});
  void set_job(std::optional<RunLease> lease) { job_ = std::move(lease); }
  void release();

  /// Throws when any of them is lost.
  void check() const;
  /// The same, at most once in a second.
  void check_now_and_then();

 private:
  void keep_alive();

  std::vector<FolderLease> folders_;
  std::optional<RunLease> job_;
  std::chrono::steady_clock::time_point checked_;
  std::thread signs_of_life_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ends_ = false;
  pid_t owner_ = -1;
};

}  // namespace lightning
