#include <lightning/util/file_system.h>

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include <filesystem>
#include <string>

#include <lightning/util/error.h>

#include "support/faulty_file_system.h"
#include "support/skip.h"
#include "support/temporary_folder.h"

namespace fs = std::filesystem;
using Catch::Matchers::Contains;
using lightning::CheckpointError;
using lightning::DataError;
using lightning::FileSystem;
using lightning::read_file;
using lightning::write_file_atomically;
using lightning_tests::DiskCall;
using lightning_tests::FaultyFileSystem;
using lightning_tests::TemporaryFolder;

namespace {

int64_t num_entries(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

}  // namespace

TEST_CASE("A file is written whole and replaced whole", "[util]") {
  const TemporaryFolder folder;
  const fs::path path = folder / "a.txt";
  const std::string text("one\0two\n", 8);
  write_file_atomically(path, text);
  CHECK(read_file(path) == text);
  write_file_atomically(path, "");
  CHECK(read_file(path).empty());
  CHECK(num_entries(folder.path()) == 1);
}

TEST_CASE("A file keeps its content when replacing it fails", "[util]") {
  const TemporaryFolder folder;
  const fs::path path = folder / "a.txt";
  write_file_atomically(path, "old");
  for (const auto kind :
       {DiskCall::kOpen, DiskCall::kWrite, DiskCall::kSync, DiskCall::kClose, DiskCall::kRename}) {
    FaultyFileSystem disk;
    disk.fail(kind, 0, ENOSPC);
    const lightning::ScopedFileSystem scope(disk);
    CHECK_THROWS_AS(write_file_atomically(path, "new"), CheckpointError);
    CHECK(read_file(path) == "old");
    CHECK(num_entries(folder.path()) == 1);
  }
}

TEST_CASE("Writing to a device leaves the device in place", "[util]") {
  CHECK_THROWS_WITH(write_file_atomically("/dev/full", "text"),
                    Contains("/dev/full") && Contains("No space left") && Contains("HINT: free"));
  CHECK(fs::is_character_file("/dev/full"));
}

TEST_CASE("Reading says why it can't", "[util]") {
  const TemporaryFolder folder;
  CHECK_THROWS_AS(read_file(folder / "missing"), DataError);
  CHECK_THROWS_WITH(read_file(folder / "missing"),
                    Contains("missing") && Contains("No such file") && Contains("HINT"));
  CHECK_THROWS_AS(read_file(folder.path()), DataError);
  CHECK_THROWS_WITH(read_file(folder.path()), Contains("HINT: it is a folder: give a file in it."));
  CHECK_THAT(read_file("/proc/self/status"), Contains("Pid:"));  // its size is given as 0
}

TEST_CASE("Folders below a file can't be made, and the file is named", "[util]") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "runs", "");
  CHECK_THROWS_WITH(
      FileSystem::current().create_directories(folder / "runs/1/checkpoints"),
      Contains("runs/1/checkpoints") && Contains("/runs\" is a file where a folder is needed"));
  FileSystem::current().create_directories(folder / "a/b/c");
  FileSystem::current().create_directories(folder / "a/b/c");
  FileSystem::current().create_directories(folder / "a/b/../d/");
  CHECK(fs::is_directory(folder / "a/b/c"));
  CHECK(fs::is_directory(folder / "a/d"));
}

TEST_CASE("A link is made and swapped, and nothing else is replaced by it", "[util]") {
  const TemporaryFolder folder;
  FileSystem& disk = FileSystem::current();
  disk.create_directories(folder / "one");
  disk.create_directories(folder / "two");
  disk.replace_link("one", folder / "last");
  CHECK(fs::read_symlink(folder / "last") == "one");
  disk.replace_link("two", folder / "last");
  CHECK(fs::read_symlink(folder / "last") == "two");
  CHECK(num_entries(folder.path()) == 3);
  CHECK_THROWS_WITH(disk.replace_link("one", folder / "two"), Contains("it is not a link"));
  CHECK(fs::is_directory(fs::symlink_status(folder / "two")));

  disk.remove_all(folder / "last");
  disk.remove_all(folder / "last");
  CHECK(fs::is_directory(folder / "two"));
}

TEST_CASE("Removing a folder follows no link out of it", "[util]") {
  const TemporaryFolder folder;
  FileSystem& disk = FileSystem::current();
  disk.create_directories(folder / "precious/inside");
  write_file_atomically(folder / "precious/inside/file", "text");
  disk.create_directories(folder / "old/a/b");
  write_file_atomically(folder / "old/a/b/file", "text");
  fs::create_directory_symlink(folder / "precious", folder / "old/a/link");
  fs::create_directory_symlink("../precious", folder / "old/relative");
  fs::create_symlink(folder / "precious/inside/file", folder / "old/a/b/file_link");
  REQUIRE(::mkfifo((folder / "old/pipe").c_str(), 0666) == 0);
  disk.remove_all(folder / "old");
  CHECK_FALSE(fs::exists(folder / "old"));
  fs::create_directory_symlink(folder / "precious", folder / "link");
  disk.remove_all(folder / "link");
  CHECK_FALSE(fs::is_symlink(folder / "link"));
  CHECK(read_file(folder / "precious/inside/file") == "text");
}

TEST_CASE("What is shortened is a regular file, and no other name of it", "[util]") {
  const TemporaryFolder folder;
  FileSystem& disk = FileSystem::current();
  write_file_atomically(folder / "precious", "text");
  fs::create_symlink(folder / "precious", folder / "link");
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0666) == 0);
  fs::create_directory(folder / "folder");
  for (const char* name : {"link", "pipe", "folder", "missing"}) {
    CAPTURE(name);
    CHECK_THROWS_WITH(disk.resize_file(folder / name, 0), Contains(name) && Contains("HINT"));
  }
  CHECK(read_file(folder / "precious") == "text");
  const std::string whole(200'000, 'x');
  write_file_atomically(folder / "log", whole);
  fs::create_hard_link(folder / "log", folder / "copy");
  disk.resize_file(folder / "log", 150'000);
  CHECK(read_file(folder / "log") == whole.substr(0, 150'000));
  CHECK(read_file(folder / "copy") == whole);
  CHECK(num_entries(folder.path()) == 6);
}

TEST_CASE("A link in the place of a temporary file isn't written through", "[util]") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "precious", "text");
  fs::create_symlink(folder / "precious", folder / (".new.tmp-" + std::to_string(::getpid())));
  write_file_atomically(folder / "new", "other");
  CHECK(read_file(folder / "precious") == "text");
  CHECK(read_file(folder / "new") == "other");
}

TEST_CASE("Appending and shortening", "[util]") {
  const TemporaryFolder folder;
  for (const char* text : {"one,", "two"}) {
    const auto file = FileSystem::current().open_for_appending(folder / "log");
    file->write(text);
    file->sync();
    file->close();
  }
  CHECK(read_file(folder / "log") == "one,two");
  FileSystem::current().resize_file(folder / "log", 4);
  CHECK(read_file(folder / "log") == "one,");
  CHECK_THROWS_WITH(FileSystem::current().rename(folder / "nothing", folder / "new"),
                    Contains("nothing") && Contains("new") && Contains("HINT"));
}

TEST_CASE("A folder without write permission is an error that says so", "[util]") {
  if (::geteuid() == 0) SKIP_TEST("root may write everywhere");
  const TemporaryFolder folder;
  fs::permissions(folder.path(), fs::perms::owner_read | fs::perms::owner_exec);
  CHECK_THROWS_WITH(write_file_atomically(folder / "a", "x"),
                    Contains("Permission denied") && Contains("HINT: check the owner"));
  fs::permissions(folder.path(), fs::perms::owner_all);
}
