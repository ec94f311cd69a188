#include <lightning/run/detail/run_lease.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include <nlohmann/json.hpp>

#include <lightning/checkpoint/checkpoint.h>
#include <lightning/run/detail/run_folder.h>
#include <lightning/util/file_system.h>

namespace lightning {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLeaseFile = "slurm_job.json";

struct Lease {
  LeaseHolder holder;
  std::vector<std::string> foreign;  // checkpoints that were there before this job came
};

std::vector<std::string> checkpoint_names(const fs::path& run_dir) {
  std::vector<std::string> names;
  for (const fs::path& path : list_checkpoints(checkpoints_folder(run_dir))) {
    names.push_back(path.filename().string());
  }
  return names;
}

/// Nothing when there is no such file, or not one of ours.
std::optional<Lease> read_lease(const fs::path& file) {
  std::ifstream stream(file);
  const auto json = nlohmann::json::parse(stream, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  try {
    Lease lease;
    lease.holder.job = json.at("job").get<std::string>();
    lease.holder.step = json.at("step").get<std::string>();
    lease.holder.fit = json.at("fit").get<int64_t>();
    lease.holder.restart = json.at("restart").get<int64_t>();
    lease.foreign = json.at("foreign_checkpoints").get<std::vector<std::string>>();
    return lease;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

void write_lease(const fs::path& file, const Lease& lease) {
  const nlohmann::ordered_json json = {{"job", lease.holder.job},
                                       {"step", lease.holder.step},
                                       {"fit", lease.holder.fit},
                                       {"restart", lease.holder.restart},
                                       {"foreign_checkpoints", lease.foreign}};
  write_file_atomically(file, json.dump(2) + "\n");
}

[[noreturn]] void throw_taken_over(const fs::path& file, const LeaseHolder& own,
                                   const LeaseHolder& now) {
  const std::string text = format(
      "Trainer: run folder {} now belongs to job {} (restart {}); this is job {} (restart {}), so "
      "this process stops writing. HINT: no action is needed; the other process continues the run.",
      file.parent_path().string(), now.job, now.restart, own.job, own.restart);
  throw DistributedError({FailureKind::kLeaseLost, 0, text});
}

}  // namespace

RunLease::RunLease(fs::path run_dir, LeaseHolder holder)
    : file_(run_dir / kLeaseFile), holder_(std::move(holder)) {
  const std::optional<Lease> before = read_lease(file_);
  const bool ours = before && before->holder.same_fit(holder_);
  if (ours && before->holder.restart > holder_.restart) {
    throw_taken_over(file_, holder_, before->holder);
  }
  write_lease(file_, {holder_, ours ? before->foreign : checkpoint_names(run_dir)});
  checked_ = std::chrono::steady_clock::now();
}

void RunLease::check() const {
  const std::optional<Lease> now = read_lease(file_);
  if (!now) return;
  if (!now->holder.same_fit(holder_) || now->holder.restart != holder_.restart) {
    throw_taken_over(file_, holder_, now->holder);
  }
}

void RunLease::check_now_and_then() {
  // The clock continues while a process is stopped: one that wakes up checks before it writes.
  const auto now = std::chrono::steady_clock::now();
  if (now - checked_ < std::chrono::seconds(1)) return;
  checked_ = now;
  check();
}

std::optional<fs::path> find_own_checkpoint(const fs::path& default_root_dir,
                                            const LeaseHolder& holder) {
  for (const fs::path& run : list_runs(default_root_dir)) {
    const std::optional<Lease> lease = read_lease(run / kLeaseFile);
    if (!lease || !lease->holder.same_fit(holder)) continue;
    const std::vector<fs::path> checkpoints = list_checkpoints(checkpoints_folder(run));
    const auto own = std::find_if(checkpoints.rbegin(), checkpoints.rend(), [&](const auto& path) {
      return std::find(lease->foreign.begin(), lease->foreign.end(), path.filename().string()) ==
             lease->foreign.end();
    });
    if (own != checkpoints.rend()) return *own;
  }
  return std::nullopt;
}

}  // namespace lightning
