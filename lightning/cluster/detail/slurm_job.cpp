#include <lightning/cluster/detail/slurm_job.h>

#include <algorithm>
#include <thread>
#include <vector>

#include <lightning/cluster/detail/environments.h>
#include <lightning/cluster/detail/variables.h>
#include <lightning/util/detail/command.h>
#include <lightning/util/detail/strings.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

constexpr std::chrono::seconds kAskLimit{10};
constexpr std::chrono::seconds kPreemptionLimit{5};
constexpr std::chrono::seconds kRequeueLimit{20};
constexpr int kRequeueAttempts = 3;

/// Numbers between colons; nothing when something else is there.
std::optional<std::vector<int64_t>> parse_colons(std::string_view text) {
  std::vector<int64_t> numbers;
  while (true) {
    const size_t colon = text.find(':');
    const auto number = parse_number<int64_t>(text.substr(0, colon));
    if (!number || *number < 0 || *number > 1'000'000'000) return std::nullopt;
    numbers.push_back(*number);
    if (colon == std::string_view::npos) return numbers;
    text.remove_prefix(colon + 1);
  }
}

/// VALUE of "NAME=VALUE" among the words of scontrol's line; empty when it isn't there.
std::string_view field_of(std::string_view line, std::string_view name) {
  for (size_t begin = 0; begin < line.size();) {
    const size_t end = std::min(line.find(' ', begin), line.size());
    const std::string_view word = line.substr(begin, end - begin);
    if (word.starts_with(name) && word.substr(name.size()).starts_with('=')) {
      return word.substr(name.size() + 1);
    }
    begin = end + 1;
  }
  return {};
}

/// True when it's no use to ask again.
bool is_final(const detail::CommandResult& result) {
  return result.status == detail::CommandResult::kNotFound ||
         result.output.find("disabled") != std::string::npos ||
         result.output.find("Invalid") != std::string::npos;
}

}  // namespace

std::optional<std::chrono::seconds> parse_slurm_time(std::string_view text) {
  text = trimmed(text);
  int64_t days = 0;
  const size_t dash = text.find('-');
  if (dash != std::string_view::npos) {
    const auto number = parse_colons(text.substr(0, dash));
    if (!number || number->size() != 1) return std::nullopt;
    days = number->front();
    text.remove_prefix(dash + 1);
  }
  auto parts = parse_colons(text);
  if (!parts || parts->size() > 3) return std::nullopt;
  // Days are followed by hours; without days, one or two numbers begin with minutes.
  if (dash == std::string_view::npos && parts->size() < 3) parts->insert(parts->begin(), 0);
  parts->resize(3, 0);
  return std::chrono::seconds(((days * 24 + (*parts)[0]) * 60 + (*parts)[1]) * 60 + (*parts)[2]);
}

std::optional<SlurmJob> SlurmJob::from_environment(const EnvironmentVariables& variables) {
  const detail::SlurmContext place = detail::slurm_place(variables);
  if (place == detail::SlurmContext::kNone || place == detail::SlurmContext::kShell)
    return std::nullopt;
  const detail::Variables values(variables, "slurm");
  SlurmJob job;
  job.id_ = values.first_of({"SLURM_JOB_ID", "SLURM_JOBID"});
  job.name_ = job.id_;
  if (values.has_all({"SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"})) {
    job.name_ = detail::concat(*values.find("SLURM_ARRAY_JOB_ID"), "_",
                               *values.find("SLURM_ARRAY_TASK_ID"));
  }
  job.identity_ = detail::concat("slurm/", values.first_of({"SLURM_CLUSTER_NAME"}), "/", job.name_);
  job.restart_count_ = values.number("SLURM_RESTART_COUNT").value_or(0);
  job.end_time_ = values.number("SLURM_JOB_END_TIME");
  return job;
}

std::optional<std::chrono::seconds> SlurmJob::time_left() const {
  if (end_time_) {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto left =
        std::chrono::seconds(*end_time_) - std::chrono::duration_cast<std::chrono::seconds>(now);
    return std::max(left, std::chrono::seconds(0));
  }
  const auto answer = detail::run_command(
      {"squeue", "--noheader", "--jobs", id_, "--Format", "TimeLeft"}, kAskLimit);
  if (answer.status != 0) return std::nullopt;
  return parse_slurm_time(answer.output);
}

std::string SlurmJob::reason_against_requeue(int64_t steps_since_start,
                                             std::optional<int64_t> max_requeues) const {
  if (steps_since_start < 1) {
    return format("job {} made no progress since it started", name_);
  }
  if (max_requeues && restart_count_ >= *max_requeues) {
    return format("job {} has already been requeued {} times and max_requeues is {}", name_,
                  restart_count_, *max_requeues);
  }
  return {};
}

bool SlurmJob::is_being_preempted() const noexcept try {
  const auto answer =
      detail::run_command({"scontrol", "--oneliner", "show", "job", id_}, kPreemptionLimit);
  if (answer.status != 0) return false;
  // A cancelled job isn't running any more; a time before the start is of an earlier preemption.
  // Both times are in the same form, which sorts as text.
  const std::string_view preempted = field_of(answer.output, "PreemptTime");
  return field_of(answer.output, "JobState") == "RUNNING" && preempted.starts_with('2') &&
         preempted >= field_of(answer.output, "StartTime");
} catch (...) {
  return false;
}

RequeueResult SlurmJob::requeue() const noexcept try {
  RequeueResult result;
  result.command = detail::concat("scontrol requeue ", name_);
  for (int attempt = 1; attempt <= kRequeueAttempts; ++attempt) {
    const auto answer = detail::run_command({"scontrol", "requeue", name_}, kRequeueLimit);
    if (answer.status == 0) {
      result.requeued = true;
      result.problem.clear();
      return result;
    }
    result.problem = detail::concat("SLURM did not requeue job ", name_, ": ",
                                    trimmed(answer.output), ". HINT: run ", result.command);
    if (is_final(answer)) break;
    if (attempt < kRequeueAttempts) std::this_thread::sleep_for(std::chrono::seconds(1));
  }
  return result;
} catch (...) {
  return {};
}

}  // namespace lightning
