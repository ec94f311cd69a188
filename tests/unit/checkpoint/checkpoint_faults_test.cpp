#include <lightning/checkpoint/checkpoint.h>

#include <catch2/catch.hpp>

#include <cerrno>
#include <string>
#include <vector>

#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

#include "checkpoint_support.h"
#include "support/faulty_file_system.h"
#include "support/temporary_folder.h"

namespace fs = std::filesystem;
using namespace lightning_tests;
using Catch::Matchers::Contains;
using lightning::Checkpoint;
using lightning::CheckpointError;
using lightning::ScopedFileSystem;
using Names = std::vector<std::string>;

namespace {

constexpr Loss kLosses[] = {Loss::kNothing, Loss::kUnsyncedData, Loss::kUnsyncedFiles,
                            Loss::kUnsyncedEverything};

/// Calls that writing a checkpoint needs.
int64_t count_calls() {
  const TemporaryFolder folder;
  FaultyFileSystem disk;
  const ScopedFileSystem scope(disk);
  make_checkpoint(2).write(folder / "next.ckpt");
  return disk.calls();
}

}  // namespace

TEST_CASE("A crash at any call leaves the old checkpoint, and the new one whole or unlisted",
          "[checkpoint]") {
  FaultyFileSystem quick;
  const ScopedFileSystem quick_scope(quick);
  const int64_t calls = count_calls();
  REQUIRE(calls > 30);
  for (const Loss loss : kLosses) {
    for (int64_t call = 0; call < calls; ++call) {
      INFO("crash at call " << call << " of " << calls << ", loss " << static_cast<int>(loss));
      const TemporaryFolder folder;
      make_checkpoint(1).write(folder / "previous.ckpt");
      FaultyFileSystem disk;
      disk.crash_at(call);
      {
        const ScopedFileSystem scope(disk);
        CHECK_THROWS_AS(make_checkpoint(2).write(folder / "next.ckpt"), CrashException);
      }
      disk.lose(loss);

      CHECK(holds_step(Checkpoint::read(folder / "previous.ckpt"), 1));
      const Names names = listed(folder.path());
      REQUIRE(!names.empty());
      CHECK(names.front() == "previous.ckpt");
      if (names.size() > 1) {
        CHECK(holds_step(Checkpoint::read(folder / "next.ckpt"), 2));
      } else {
        CHECK_THROWS_WITH(Checkpoint::read(folder / "next.ckpt"), Contains("previous.ckpt"));
        make_checkpoint(2).write(folder / "next.ckpt");
        CHECK(holds_step(Checkpoint::read(folder / "next.ckpt"), 2));
        CHECK(names_in(folder.path()) == Names{"next.ckpt", "previous.ckpt"});
      }
    }
  }
}

TEST_CASE("A checkpoint that was written survives a power failure", "[checkpoint]") {
  for (const Loss loss : kLosses) {
    const TemporaryFolder folder;
    FaultyFileSystem disk;
    {
      const ScopedFileSystem scope(disk);
      make_checkpoint(2).write(folder / "runs/1/next.ckpt");
    }
    disk.lose(loss);
    CHECK(holds_step(Checkpoint::read(folder / "runs/1/next.ckpt"), 2));
  }
}

TEST_CASE("A crash while a checkpoint is removed leaves it whole or unlisted", "[checkpoint]") {
  FaultyFileSystem quick;
  const ScopedFileSystem quick_scope(quick);
  for (const Loss loss : kLosses) {
    for (int64_t call = 0; call < 4; ++call) {
      const TemporaryFolder folder;
      make_checkpoint(1).write(folder / "a.ckpt");
      make_checkpoint(2).write(folder / "b.ckpt");
      FaultyFileSystem disk;
      disk.crash_at(call);
      {
        const ScopedFileSystem scope(disk);
        try {
          lightning::remove_checkpoint(folder / "a.ckpt");
        } catch (const CrashException&) {
        }
      }
      disk.lose(loss);
      const Names names = listed(folder.path());
      CHECK(names.back() == "b.ckpt");
      if (names.size() == 2) CHECK(holds_step(Checkpoint::read(folder / "a.ckpt"), 1));
      lightning::remove_checkpoint(folder / "b.ckpt");
      lightning::remove_checkpoint(folder / "a.ckpt");
      CHECK(names_in(folder.path()).empty());
    }
  }
}

TEST_CASE("A failing disk is an error that leaves no trace", "[checkpoint]") {
  struct Fault {
    int error;
    std::string reason;
    std::string hint;
  };
  const std::vector<Fault> faults = {{ENOSPC, "No space left on device", "HINT: free some space"},
                                     {EROFS, "Read-only file system", "HINT: that disk is mounted"},
                                     {EIO, "Input/output error", "HINT: the disk or the network"}};
  FaultyFileSystem quick;
  const ScopedFileSystem quick_scope(quick);
  for (const auto kind :
       {DiskCall::kOpen, DiskCall::kWrite, DiskCall::kSync, DiskCall::kClose,
        DiskCall::kCreateDirectories, DiskCall::kRename, DiskCall::kSyncDirectory}) {
    for (const Fault& fault : faults) {
      for (int64_t call = 0;; ++call) {
        INFO(kDiskCallNames[static_cast<size_t>(kind)] << " " << call << ": " << fault.reason);
        const TemporaryFolder folder;
        make_checkpoint(1).write(folder / "previous.ckpt");
        FaultyFileSystem disk;
        disk.fail(kind, call, fault.error);
        const ScopedFileSystem scope(disk);
        try {
          make_checkpoint(2).write(folder / "next.ckpt");
          CHECK(call > 0);
          break;  // it has no such call any more
        } catch (const CheckpointError& error) {
          CHECK_THAT(error.what(), Contains("next.ckpt\" was not written") &&
                                       Contains(fault.reason) && Contains(fault.hint));
        }
        CHECK(names_in(folder.path()) == Names{"previous.ckpt"});
        CHECK(holds_step(Checkpoint::read(folder / "previous.ckpt"), 1));
      }
    }
  }
}
