#include <lightning/checkpoint/detail/checkpoint_writer.h>

#include <catch2/catch.hpp>

#include <atomic>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include <lightning/util/error.h>
#include <lightning/util/log.h>

#include "checkpoint_support.h"
#include "support/faulty_file_system.h"
#include "support/temporary_folder.h"

using namespace lightning_tests;
using Catch::Matchers::Contains;
using lightning::Checkpoint;
using lightning::CheckpointError;
using lightning::CheckpointWriter;
using lightning::ScopedFileSystem;
using Names = std::vector<std::string>;

TEST_CASE("CheckpointWriter writes in order and tells when each is committed", "[checkpoint]") {
  for (const bool async : {false, true}) {
    const TemporaryFolder folder;
    std::vector<int64_t> committed;
    std::thread::id thread;
    CheckpointWriter writer(async);
    for (int64_t step = 1; step <= 3; ++step) {
      writer.write(make_checkpoint(step), folder / (std::to_string(step) + ".ckpt"), [&, step] {
        committed.push_back(step);
        thread = std::this_thread::get_id();
        if (step > 1) lightning::remove_checkpoint(folder / (std::to_string(step - 1) + ".ckpt"));
      });
    }
    writer.wait();
    writer.check();
    CHECK(committed == std::vector<int64_t>{1, 2, 3});
    CHECK((thread == std::this_thread::get_id()) == !async);
    CHECK(names_in(folder.path()) == Names{"3.ckpt"});
    CHECK(holds_step(Checkpoint::read(folder / "3.ckpt"), 3));
  }
}

TEST_CASE("CheckpointWriter writes the values of the moment of the call", "[checkpoint]") {
  const TemporaryFolder folder;
  CheckpointWriter writer(/*async=*/true);
  Checkpoint checkpoint = make_checkpoint(1);
  writer.write(checkpoint, folder / "a.ckpt");
  find(checkpoint.model, "weight").fill_(9);  // training continues
  writer.wait();
  CHECK(holds_step(Checkpoint::read(folder / "a.ckpt"), 1));
}

TEST_CASE("CheckpointWriter gives the error of a write once, at the next call", "[checkpoint]") {
  const TemporaryFolder folder;
  FaultyFileSystem disk;
  disk.fail(DiskCall::kWrite, 3, ENOSPC);
  const ScopedFileSystem scope(disk);
  CheckpointWriter writer(/*async=*/true);
  bool committed = false;
  writer.write(make_checkpoint(1), folder / "a.ckpt", [&] { committed = true; });
  CHECK_THROWS_WITH(writer.wait(), Contains("a.ckpt") && Contains("No space left"));
  CHECK_NOTHROW(writer.wait());
  CHECK_NOTHROW(writer.check());
  CHECK_FALSE(committed);

  writer.write(make_checkpoint(1), folder / "b.ckpt");
  CHECK_THROWS_WITH(writer.write(make_checkpoint(2), folder / "c.ckpt"), Contains("b.ckpt"));
  writer.write(make_checkpoint(3), folder / "d.ckpt");
  for (int i = 0; i < 1000; ++i) {
    try {
      writer.check();
    } catch (const CheckpointError& error) {
      CHECK_THAT(error.what(), Contains("d.ckpt"));
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  FAIL("check() never threw");
}

TEST_CASE("CheckpointWriter throws at once when it isn't async", "[checkpoint]") {
  const TemporaryFolder folder;
  FaultyFileSystem disk;
  disk.fail(DiskCall::kRename, 0, EROFS);
  const ScopedFileSystem scope(disk);
  CheckpointWriter writer(/*async=*/false);
  CHECK_THROWS_AS(writer.write(make_checkpoint(1), folder / "a.ckpt"), CheckpointError);
}

TEST_CASE("CheckpointWriter warns of an error that was never collected", "[checkpoint]") {
  const TemporaryFolder folder;
  FaultyFileSystem disk;
  disk.fail(DiskCall::kSync, 0, EIO);
  const ScopedFileSystem scope(disk);
  std::string lines;
  auto previous = lightning::set_log_sink([&](std::string_view line) { lines += line; });
  {
    CheckpointWriter writer(/*async=*/true);
    writer.write(make_checkpoint(1), folder / "a.ckpt");
  }
  lightning::set_log_sink(std::move(previous));
  CHECK_THAT(lines, Contains("warning: CheckpointWriter: ") && Contains("a.ckpt"));
}

TEST_CASE("CheckpointWriter logs each checkpoint at level debug", "[checkpoint]") {
  const TemporaryFolder folder;
  std::string lines;
  auto previous = lightning::set_log_sink([&](std::string_view line) { lines += line; });
  lightning::set_log_level(lightning::LogLevel::kDebug);
  CheckpointWriter(/*async=*/false).write(make_checkpoint(1), folder / "a.ckpt");
  lightning::set_log_level(lightning::LogLevel::kInfo);
  CheckpointWriter(/*async=*/false).write(make_checkpoint(1), folder / "b.ckpt");
  lightning::set_log_sink(std::move(previous));
  CHECK_THAT(lines, Contains("debug: CheckpointWriter: wrote ") && Contains("a.ckpt") &&
                        !Contains("b.ckpt"));
}

TEST_CASE("CheckpointWriter passes on what the committed function throws", "[checkpoint]") {
  const TemporaryFolder folder;
  CheckpointWriter writer(/*async=*/true);
  writer.write(make_checkpoint(1), folder / "a.ckpt",
               [] { throw std::runtime_error("from the callback"); });
  CHECK_THROWS_WITH(writer.wait(), "from the callback");
  CHECK(holds_step(Checkpoint::read(folder / "a.ckpt"), 1));
}
