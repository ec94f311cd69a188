#include <lightning/run/detail/run_lease.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include <catch2/catch.hpp>

#include <lightning/checkpoint/checkpoint.h>
#include <support/temporary_folder.h>

namespace fs = std::filesystem;
using lightning::DistributedError;
using lightning::FailureKind;
using lightning::find_own_checkpoint;
using lightning::LeaseHolder;
using lightning::RunLease;

namespace {

/// A default_root_dir with runs in it.
class Root {
 public:
  const fs::path& path() const { return folder_.path(); }
  fs::path run(int version) const {
    const fs::path run = path() / "lightning_logs" / ("version_" + std::to_string(version));
    fs::create_directories(run / "checkpoints");
    return run;
  }
  fs::path add_checkpoint(int version, const std::string& name) const {
    const fs::path path = run(version) / "checkpoints" / name;
    lightning::Checkpoint{}.write(path);
    return path;
  }

 private:
  lightning_tests::TemporaryFolder folder_;
};

LeaseHolder holder(const std::string& job, int64_t restart = 0, int64_t fit = 0) {
  return {.job = job, .step = "0", .fit = fit, .restart = restart};
}

FailureKind kind_of_error(const std::function<void()>& body) {
  try {
    body();
  } catch (const DistributedError& error) {
    return error.failure().kind;
  }
  return FailureKind::kOther;
}

}  // namespace

TEST_CASE("RunLease: a later incarnation of the job takes the folder, the earlier one finds out") {
  const Root root;
  const RunLease first(root.run(0), holder("slurm/c/41"));
  CHECK_NOTHROW(first.check());
  const RunLease second(root.run(0), holder("slurm/c/41", 1));
  CHECK_NOTHROW(second.check());
  CHECK(kind_of_error([&] { first.check(); }) == FailureKind::kLeaseLost);
  CHECK_THROWS_WITH(first.check(), Catch::Contains("now belongs to job slurm/c/41 (restart 1)"));
  // Nor can it take the folder back.
  CHECK(kind_of_error([&] { RunLease(root.run(0), holder("slurm/c/41", 0)); }) ==
        FailureKind::kLeaseLost);
  CHECK_NOTHROW(second.check());
}

TEST_CASE("RunLease: a different job that resumes in the folder takes it") {
  const Root root;
  const RunLease first(root.run(0), holder("slurm/c/41", 3));
  const RunLease second(root.run(0), holder("slurm/c/42"));
  CHECK(kind_of_error([&] { first.check(); }) == FailureKind::kLeaseLost);
}

TEST_CASE("RunLease: a lease file that is gone or damaged is no reason to stop") {
  const Root root;
  const RunLease lease(root.run(0), holder("slurm/c/41"));
  std::ofstream(root.run(0) / "slurm_job.json") << "{\"job\": 3";
  CHECK_NOTHROW(lease.check());
  fs::remove(root.run(0) / "slurm_job.json");
  CHECK_NOTHROW(lease.check());
}

TEST_CASE("find_own_checkpoint finds the newest checkpoint of the same job, step and fit") {
  const Root root;
  CHECK_FALSE(find_own_checkpoint(root.path(), holder("slurm/c/41")));
  const RunLease ours(root.run(0), holder("slurm/c/41"));
  CHECK_FALSE(find_own_checkpoint(root.path(), holder("slurm/c/41", 1)));
  root.add_checkpoint(0, "step=1.ckpt");
  const fs::path newest = root.add_checkpoint(0, "step=2.ckpt");
  // Newer runs of others don't count.
  const RunLease other(root.run(1), holder("slurm/c/42"));
  root.add_checkpoint(1, "step=9.ckpt");
  const RunLease second_fit(root.run(2), holder("slurm/c/41", 0, 1));
  root.add_checkpoint(2, "step=9.ckpt");
  root.add_checkpoint(3, "step=9.ckpt");
  CHECK(find_own_checkpoint(root.path(), holder("slurm/c/41", 1)) == newest);
  CHECK_FALSE(find_own_checkpoint(root.path(), holder("slurm/d/41", 1)));
  CHECK_FALSE(
      find_own_checkpoint(root.path(), {.job = "slurm/c/41", .step = "1", .fit = 0, .restart = 1}));
}

TEST_CASE("find_own_checkpoint leaves out what was in the folder before the job came") {
  const Root root;
  root.add_checkpoint(0, "step=5.ckpt");
  const RunLease first(root.run(0), holder("slurm/c/42"));
  CHECK_FALSE(find_own_checkpoint(root.path(), holder("slurm/c/42", 1)));
  // The same after a restart in which nothing was written either.
  const RunLease second(root.run(0), holder("slurm/c/42", 1));
  CHECK_FALSE(find_own_checkpoint(root.path(), holder("slurm/c/42", 2)));
  const fs::path own = root.add_checkpoint(0, "step=6.ckpt");
  CHECK(find_own_checkpoint(root.path(), holder("slurm/c/42", 2)) == own);
}
