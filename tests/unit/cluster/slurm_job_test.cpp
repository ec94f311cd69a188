#include <lightning/cluster/detail/slurm_job.h>

#include <stdlib.h>
#include <sys/stat.h>

#include <ctime>
#include <fstream>
#include <string>

#include <catch2/catch.hpp>

#include <lightning/util/file_system.h>
#include <support/temporary_folder.h>

using lightning::EnvironmentVariables;
using lightning::parse_slurm_time;
using lightning::SlurmJob;
using std::chrono::seconds;

namespace {

EnvironmentVariables task(EnvironmentVariables more = {}) {
  more.merge(EnvironmentVariables{{"SLURM_JOB_ID", "41"},
                                  {"SLURM_JOB_NAME", "train"},
                                  {"SLURM_CLUSTER_NAME", "cluster"},
                                  {"SLURM_STEP_ID", "0"},
                                  {"SLURM_PROCID", "0"},
                                  {"SLURM_NTASKS", "2"}});
  return more;
}

SlurmJob job(const EnvironmentVariables& more = {}) {
  return SlurmJob::from_environment(task(more)).value();
}

/// Programs of our own take the place of SLURM's while it lives.
class FakePrograms {
 public:
  FakePrograms() : path_(getenv("PATH")) {
    setenv("PATH", (folder_.path().string() + ":/usr/bin:/bin").c_str(), 1);
  }
  ~FakePrograms() { setenv("PATH", path_.c_str(), 1); }

  /// `lines` of sh; the arguments of each call go to a file that calls() reads.
  void add(const std::string& name, const std::string& lines) {
    const auto file = folder_ / name;
    std::ofstream(file) << "#!/bin/sh\necho \"${0##*/} $*\" >> '" << (folder_ / "calls").string()
                        << "'\n"
                        << lines << "\n";
    chmod(file.c_str(), 0755);
  }
  /// PATH leads nowhere else.
  void hide_all_others() { setenv("PATH", folder_.path().c_str(), 1); }

  std::string calls() const { return lightning::read_file(folder_ / "calls"); }

 private:
  lightning_tests::TemporaryFolder folder_;
  std::string path_;
};

}  // namespace

TEST_CASE("SlurmJob names the job, or the element of an array") {
  CHECK(job().name() == "41");
  CHECK(job().identity() == "slurm/cluster/41");
  CHECK(job().restart_count() == 0);
  const SlurmJob element = job({{"SLURM_ARRAY_JOB_ID", "40"}, {"SLURM_ARRAY_TASK_ID", "3"}});
  CHECK(element.name() == "40_3");
  CHECK(element.identity() == "slurm/cluster/40_3");
}

TEST_CASE("SlurmJob is there for tasks and batch scripts, not for shells") {
  CHECK_FALSE(SlurmJob::from_environment({}).has_value());
  EnvironmentVariables shell = task();
  shell.erase("SLURM_STEP_ID");
  CHECK(SlurmJob::from_environment(shell).has_value());  // torchrun in a batch script
  shell.erase("SLURM_PROCID");
  CHECK_FALSE(SlurmJob::from_environment(shell).has_value());  // salloc
}

TEST_CASE("a restart of a job has the identity of the job, no other one has it") {
  CHECK(job({{"SLURM_RESTART_COUNT", "1"}}).identity() == job().identity());
  CHECK(job({{"SLURM_JOB_ID", "42"}}).identity() != job().identity());
  CHECK(job({{"SLURM_CLUSTER_NAME", "other"}}).identity() != job().identity());
  const EnvironmentVariables element{{"SLURM_JOB_ID", "43"},
                                     {"SLURM_ARRAY_JOB_ID", "40"},
                                     {"SLURM_ARRAY_TASK_ID", "3"},
                                     {"SLURM_RESTART_COUNT", "2"}};
  EnvironmentVariables neighbour = element;
  neighbour.insert_or_assign("SLURM_ARRAY_TASK_ID", std::string("4"));
  CHECK(job(element).identity() != job(neighbour).identity());
}

TEST_CASE("a job is not requeued without progress or too often") {
  CHECK(job().reason_against_requeue(1, std::nullopt).empty());
  CHECK_THAT(job().reason_against_requeue(0, std::nullopt), Catch::Contains("no progress"));
  const SlurmJob third = job({{"SLURM_RESTART_COUNT", "3"}});
  CHECK(third.reason_against_requeue(1, 4).empty());
  CHECK_THAT(third.reason_against_requeue(1, 3),
             Catch::Contains("3 times") && Catch::Contains("max_requeues is 3"));
  CHECK_FALSE(job().reason_against_requeue(1, 0).empty());
}

TEST_CASE("parse_slurm_time reads what squeue prints") {
  CHECK(parse_slurm_time("1-02:03:04") == seconds(93'784));
  CHECK(parse_slurm_time("02:03:04") == seconds(7'384));
  CHECK(parse_slurm_time("59:55               \n") == seconds(3'595));
  CHECK(parse_slurm_time("0:45") == seconds(45));
  CHECK(parse_slurm_time("3") == seconds(180));
  CHECK(parse_slurm_time("2-12") == seconds(216'000));
  CHECK(parse_slurm_time("2-12:30") == seconds(217'800));
  for (const char* text : {"", "UNLIMITED", "NOT_SET", "INVALID", "1:2:3:4", "1-", "-1", "a:b",
                           "1--2", "1 2", "1:2-3"}) {
    INFO(text);
    CHECK_FALSE(parse_slurm_time(text).has_value());
  }
}

TEST_CASE("time_left takes the variable, else asks squeue") {
  FakePrograms programs;
  programs.add("squeue", "echo '1:30:00      '");
  CHECK(job().time_left() == seconds(5'400));
  CHECK(programs.calls() == "squeue --noheader --jobs 41 --Format TimeLeft\n");

  const auto end = std::to_string(std::time(nullptr) + 1000);
  const auto left = job({{"SLURM_JOB_END_TIME", end}}).time_left();
  CHECK(left.value() > seconds(900));
  CHECK(left.value() <= seconds(1000));
  CHECK(job({{"SLURM_JOB_END_TIME", "1000"}}).time_left() == seconds(0));

  programs.add("squeue", "echo UNLIMITED");
  CHECK_FALSE(job().time_left().has_value());
  programs.add("squeue", "echo 10:00; exit 1");
  CHECK_FALSE(job().time_left().has_value());
}

TEST_CASE("requeue runs scontrol for the job or the array's element") {
  FakePrograms programs;
  programs.add("scontrol", "exit 0");
  const auto result = job({{"SLURM_ARRAY_JOB_ID", "40"}, {"SLURM_ARRAY_TASK_ID", "3"}}).requeue();
  CHECK(result.requeued);
  CHECK(result.command == "scontrol requeue 40_3");
  CHECK(result.problem.empty());
  CHECK(programs.calls() == "scontrol requeue 40_3\n");
}

TEST_CASE("requeue tells the command to run when it can't") {
  FakePrograms programs;
  programs.hide_all_others();
  const auto missing = job().requeue();
  CHECK_FALSE(missing.requeued);
  CHECK(missing.command == "scontrol requeue 41");
  CHECK_THAT(missing.problem, Catch::Contains("can't run scontrol") &&
                                  Catch::Contains("HINT: run scontrol requeue 41"));
}

TEST_CASE("requeue gives up at once when SLURM says never, and asks again otherwise") {
  FakePrograms programs;
  programs.add("scontrol",
               "echo 'Requested operation is presently disabled for job 41' >&2; exit 1");
  const auto never = job().requeue();
  CHECK_FALSE(never.requeued);
  CHECK_THAT(never.problem, Catch::Contains("presently disabled for job 41. HINT"));
  CHECK(programs.calls() == "scontrol requeue 41\n");

  programs.add("scontrol",
               "test $(grep -c . \"${0%/*}/calls\") -gt 2 || { echo 'Unable to contact slurm "
               "controller'; exit 1; }");
  CHECK(job().requeue().requeued);
  CHECK(programs.calls() == "scontrol requeue 41\nscontrol requeue 41\nscontrol requeue 41\n");
}

TEST_CASE("SlurmJob tells a preemption from an end") {
  FakePrograms programs;
  const auto told = [&](const std::string& line) {
    programs.add("scontrol", "echo '" + line + "'");
    return job().is_being_preempted();
  };
  const std::string start = " StartTime=2026-01-02T03:04:05";
  CHECK(told("JobId=41 JobState=RUNNING" + start + " PreemptTime=2026-01-02T03:05:00"));
  // No preemption, one of an earlier incarnation, scancel in a time of grace.
  CHECK_FALSE(told("JobId=41 JobState=RUNNING" + start + " PreemptTime=None"));
  CHECK_FALSE(told("JobId=41 JobState=RUNNING" + start + " PreemptTime=2026-01-01T03:05:00"));
  CHECK_FALSE(told("JobId=41 JobState=CANCELLED" + start + " PreemptTime=2026-01-02T03:05:00"));
  CHECK_THAT(programs.calls(), Catch::Contains("scontrol --oneliner show job 41"));
  programs.add("scontrol", "exit 1");
  CHECK_FALSE(job().is_being_preempted());
  programs.hide_all_others();
  CHECK_FALSE(job().is_being_preempted());
}
