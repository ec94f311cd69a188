// One run at a time writes into a folder.
#include <lightning/run/detail/folder_lease.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

#include <lightning/util/detail/process.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>
#include <lightning/util/format.h>
#include <lightning/util/log.h>
#include <support/forked_ranks.h>
#include <support/temporary_folder.h>

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using lightning::ConfigError;
using lightning::DistributedError;
using lightning::FolderLease;
using lightning::LeaseHolder;
using lightning::RunLeases;
using lightning_tests::TemporaryFolder;

namespace {

constexpr const char* kFile = ".lightning-lease";

/// What the log prints while it lives.
class Printed {
 public:
  Printed()
      : before_(lightning::set_log_sink(
            [this](std::string_view line) { text_ += std::string(line) + "\n"; })) {}
  ~Printed() { lightning::set_log_sink(std::move(before_)); }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  lightning::LogSink before_;
};

/// A process that takes the lease and holds it until it is killed.
class Holding {
 public:
  explicit Holding(const fs::path& folder) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    pid_ = lightning_tests::fork_process([&] {
      const FolderLease lease(folder);
      [[maybe_unused]] const auto told = ::write(ends[1], "x", 1);
      for (;;) ::pause();
      return 0;
    });
    ::close(ends[1]);
    char byte = 0;
    REQUIRE(::read(ends[0], &byte, 1) == 1);
    ::close(ends[0]);
  }
  ~Holding() { end(); }
  void send(int signal) const { ::kill(pid_, signal); }
  void stop() const {
    send(SIGSTOP);
    ::waitpid(pid_, nullptr, WUNTRACED);
  }
  void end() {
    if (pid_ < 0) return;
    send(SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

/// A lease that a process of a different machine left.
void leave_foreign_lease(const fs::path& folder) {
  std::ofstream(folder / kFile) << R"({"host": "far-away", "since": "2026-01-02T03:04:05Z",)"
                                << R"( "process": "77-88-0123abcd", "number": 0})";
}

LeaseHolder job(int64_t restart, const std::string& name = "slurm/c/41") {
  return {.job = name, .step = "0", .fit = 0, .restart = restart};
}

}  // namespace

TEST_CASE("FolderLease: who comes second is told who has the folder, and changes nothing") {
  const TemporaryFolder folder;
  {
    const FolderLease first(folder.path());
    const std::string before = lightning::read_file(folder / kFile);
    CHECK_THROWS_AS(FolderLease(folder.path()), ConfigError);
    CHECK_THROWS_WITH(FolderLease(folder.path()),
                      Contains(lightning::format("by process {} on {}, since 2", ::getpid(),
                                                 lightning::detail::host_name())) &&
                          Contains(folder.path().string()) && Contains("HINT: "));
    CHECK(lightning::read_file(folder / kFile) == before);
    CHECK_NOTHROW(first.check());
  }
  CHECK(fs::is_empty(folder.path()));
  CHECK_NOTHROW(FolderLease(folder.path()));
}

TEST_CASE("FolderLease: a stopped process holds the folder, a killed one doesn't", "[process]") {
  const TemporaryFolder folder;
  Holding holder(folder.path());
  CHECK_THROWS_WITH(FolderLease(folder.path()),
                    Contains("by process " + std::to_string(holder.pid())));
  holder.stop();
  CHECK_THROWS_AS(FolderLease(folder.path()), ConfigError);
  const pid_t pid = holder.pid();
  holder.end();
  const Printed printed;
  CHECK_NOTHROW(FolderLease(folder.path()));
  CHECK_THAT(printed.text(),
             Contains("was left by process " + std::to_string(pid)) && Contains("takes it over"));
}

TEST_CASE("FolderLease: of many that start at once one gets the folder", "[process]") {
  constexpr int kStarters = 8;
  const TemporaryFolder folder;
  leave_foreign_lease(folder.path());
  int go[2];
  int done[2];
  REQUIRE(::pipe2(go, O_CLOEXEC) == 0);
  REQUIRE(::pipe2(done, O_CLOEXEC) == 0);
  std::vector<pid_t> starters;
  for (int i = 0; i < kStarters; ++i) {
    starters.push_back(lightning_tests::fork_process([&] {
      ::close(go[1]);
      ::close(done[1]);
      lightning::set_log_sink({});
      char byte = 0;
      while (::read(go[0], &byte, 1) > 0) {
      }
      try {
        const FolderLease lease(folder.path(), {}, {.sign_of_life = 10ms, .watched = 20ms});
        // Until all others have tried.
        std::this_thread::sleep_for(500ms);
        return 0;
      } catch (const ConfigError&) {
        return 1;
      }
    }));
  }
  ::close(go[1]);
  int winners = 0;
  for (const pid_t starter : starters) winners += lightning_tests::exit_code(starter) == 0;
  CHECK(winners == 1);
  ::close(go[0]);
  ::close(done[0]);
  ::close(done[1]);
  CHECK(fs::is_empty(folder.path()));
}

TEST_CASE("FolderLease: a holder on a different machine is watched for a sign of life") {
  const TemporaryFolder folder;
  const lightning::LeaseTimes times{.sign_of_life = 10ms, .watched = 100ms};
  leave_foreign_lease(folder.path());
  const Printed printed;
  SECTION("it gives none") {
    CHECK_NOTHROW(FolderLease(folder.path(), {}, times));
    CHECK_THAT(printed.text(), Contains("by process 77 on far-away, since 2026-01-02T03:04:05Z") &&
                                   Contains("takes it over"));
  }
  SECTION("it gives one") {
    std::atomic<bool> ends{false};
    std::thread other([&] {
      while (!ends) {
        ::utimensat(AT_FDCWD, (folder / kFile).c_str(), nullptr, 0);
        std::this_thread::sleep_for(1ms);
      }
    });
    CHECK_THROWS_WITH(FolderLease(folder.path(), {}, {.sign_of_life = 10ms, .watched = 60s}),
                      Contains("by process 77 on far-away"));
    ends = true;
    other.join();
  }
}

TEST_CASE("FolderLease: a later incarnation of a job takes the folder from an earlier one") {
  const TemporaryFolder folder;
  std::optional<FolderLease> first(std::in_place, folder.path(), job(0));
  CHECK_THROWS_AS(FolderLease(folder.path(), job(0)), ConfigError);
  CHECK_THROWS_AS(FolderLease(folder.path(), job(1, "slurm/c/42")), ConfigError);
  const FolderLease second(folder.path(), job(1));
  CHECK_NOTHROW(second.check());
  CHECK_THROWS_AS(first->check(), DistributedError);
  CHECK_THROWS_WITH(first->check(), Contains("stops writing"));
  CHECK_THROWS_AS(FolderLease(folder.path(), job(0)), ConfigError);
  // It doesn't take away what isn't its own.
  first.reset();
  CHECK_NOTHROW(second.check());
  CHECK_THROWS_AS(FolderLease(folder.path()), ConfigError);
}

TEST_CASE("FolderLease: what isn't a file of ours is neither followed nor waited for") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "run");
  const fs::path file = folder / "run" / kFile;
  std::ofstream(folder / "precious") << "text";
  SECTION("a link") {
    fs::create_symlink(folder / "precious", file);
    CHECK_THROWS_AS(FolderLease(folder / "run"), lightning::CheckpointError);
  }
  SECTION("a pipe") {
    REQUIRE(::mkfifo(file.c_str(), 0666) == 0);
    CHECK_THROWS_AS(FolderLease(folder / "run"), lightning::CheckpointError);
  }
  SECTION("a damaged one") {
    std::ofstream(file) << "{\"host\": 3";
    CHECK_NOTHROW(FolderLease(folder / "run"));
  }
  CHECK(lightning::read_file(folder / "precious") == "text");
}

TEST_CASE("RunLeases: a folder counts once, whatever path leads to it") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "a");
  fs::create_directory(folder / "b");
  fs::create_directory_symlink("a", folder / "link");
  RunLeases first;
  first.take({folder / "a", folder / "link", folder / "a/../a"});
  first.take({folder / "a"});
  RunLeases second;
  CHECK_THROWS_AS(second.take({folder / "b", folder / "link"}), ConfigError);
  // All or nothing.
  RunLeases third;
  CHECK_NOTHROW(third.take({folder / "b"}));
  first.release();
  CHECK_NOTHROW(second.take({folder / "a"}));
}
