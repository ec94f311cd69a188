// What SlurmJob knows of the job, as one line of JSON. In its first run rank 0 has the job started
// again, the others wait for their end; the second run only prints.
//
// Usage: slurm_job_program FILE     keeps the first run's identity in FILE

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <thread>

#include <lightning/cluster/detail/slurm_job.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

int main(int argc, char** argv) {
  const auto job = lightning::SlurmJob::from_environment(lightning::current_environment());
  if (argc != 2 || !job) return 2;
  const std::filesystem::path file = argv[1];
  const bool is_rank_0 = std::string(std::getenv("SLURM_PROCID")) == "0";
  if (job->restart_count() == 0 && is_rank_0) {
    lightning::write_file_atomically(file, job->identity());
  }
  if (is_rank_0) {
    const auto left = job->time_left();
    std::cout << lightning::detail::concat(
                     "{\"name\": \"", job->name(), "\", \"restarts\": ", job->restart_count(),
                     ", \"left\": ", left ? left->count() : -1, ", \"same_job\": ",
                     job->identity() == lightning::read_file(file) ? "true" : "false", "}\n")
              << std::flush;
  }
  if (job->restart_count() > 0) return 0;
  if (!is_rank_0) std::this_thread::sleep_for(std::chrono::minutes(5));
  const auto result = job->requeue();
  std::cout << lightning::detail::concat(result.command, ": ", result.problem, "\n") << std::flush;
  return 0;
}
