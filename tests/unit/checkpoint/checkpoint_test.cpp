#include <lightning/checkpoint/checkpoint.h>

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <limits>
#include <string>
#include <vector>

#include <torch/types.h>

#include <lightning/checkpoint/safetensors.h>
#include <lightning/util/detail/process.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

#include "checkpoint_support.h"
#include "support/temporary_folder.h"

namespace fs = std::filesystem;
using namespace lightning_tests;
using Catch::Matchers::Contains;
namespace detail = lightning::detail;
using lightning::Checkpoint;
using lightning::CheckpointError;
using lightning::FileSystem;
using lightning::read_file;
using lightning::StateDict;
using lightning::write_file_atomically;
using Names = std::vector<std::string>;

namespace {

void overwrite(const fs::path& path, size_t position, char byte) {
  std::string text = read_file(path);
  text.at(position) = byte;
  write_file_atomically(path, text);
}

/// The tag of a process of this machine that has ended.
std::string gone_process() {
  detail::ProcessId process = detail::own_process();
  process.started -= 1;
  return detail::to_tag(process);
}

}  // namespace

TEST_CASE("A checkpoint comes back as it was written", "[checkpoint]") {
  const TemporaryFolder folder;
  const size_t size = make_checkpoint(7).write(folder / "runs/1/a.ckpt");
  const Checkpoint found = Checkpoint::read(folder / "runs/1/a.ckpt");
  CHECK(holds_step(found, 7));
  CHECK(holds_step(Checkpoint::read((folder / "runs/1/a.ckpt/").string()), 7));
  CHECK(names_in(folder / "runs/1") == Names{"a.ckpt"});
  CHECK(Checkpoint::read_config(folder / "runs/1/a.ckpt") == "model:\n  width: 4\n");
  const fs::path assets = Checkpoint::assets_dir(folder / "runs/1/a.ckpt");
  CHECK(read_file(assets / "vocab.txt") == "[PAD]\n[CLS]\n");
  CHECK(Checkpoint::read_model(folder / "runs/1/a.ckpt").size() == 4);

  size_t on_disk = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder / "runs/1/a.ckpt")) {
    if (entry.is_regular_file()) on_disk += entry.file_size();
  }
  CHECK(size == on_disk);
}

TEST_CASE("A checkpoint stores a tied tensor once and ties it again", "[checkpoint]") {
  const TemporaryFolder folder;
  make_checkpoint(1).write(folder / "a.ckpt");
  const lightning::SafetensorsFile file(folder / "a.ckpt/model.safetensors");
  CHECK(file.tensors().size() == 3);
  CHECK(file.contains("weight"));
  CHECK_FALSE(file.contains("head"));
  CHECK(file.metadata().at("format") == "pt");
  const auto model = Checkpoint::read_model(folder / "a.ckpt");
  CHECK(find(model, "weight").is_same(find(model, "head")));
}

TEST_CASE("A checkpoint gives back every value of a StateDict exactly", "[checkpoint]") {
  const TemporaryFolder folder;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  Checkpoint checkpoint;
  StateDict& state = checkpoint.state;
  state.set("z/first", 1);
  state.set("a/second", 2);
  state.set("int/min", std::numeric_limits<int64_t>::min());
  state.set("int/max", std::numeric_limits<int64_t>::max());
  const std::vector<double> doubles = {0.0,
                                       -0.0,
                                       1.0,
                                       0.1,
                                       1.0 / 3.0,
                                       1e22,
                                       -1e-300,
                                       std::numeric_limits<double>::denorm_min(),
                                       std::numeric_limits<double>::max(),
                                       9007199254740993.0,
                                       kInfinity,
                                       -kInfinity,
                                       kNan};
  for (size_t i = 0; i < doubles.size(); ++i) state.set("d/" + std::to_string(i), doubles[i]);
  state.set("list/doubles", doubles);
  state.set("list/ints", std::vector<int64_t>{-1, 0, std::numeric_limits<int64_t>::max()});
  state.set("list/strings", Names{"", "a", "\u4f60\u597d", "b\xff"});
  state.set("list/no_doubles", std::vector<double>{});
  state.set("list/no_ints", std::vector<int64_t>{});
  state.set("list/no_strings", Names{});
  state.set("bool/true", true);
  state.set("bool/false", false);
  state.set("string/empty", "");
  state.set("string/text", std::string("line\n\"quoted\"\t\0 zero", 20));
  state.set("string/utf8", "\u00e9\U0001f600");
  state.set("string/bytes", std::string("/tmp/\xe9t\xe9/\x80"));
  state.set("name with \"quotes\" and \u00e9", 3);
  state.set("tensor/scalar", torch::tensor(1.5));
  state.set("tensor/empty", torch::empty({0}));
  state.set("tensor/bool", torch::tensor({true, false}));
  checkpoint.write(folder / "a.ckpt");
  CHECK(same_state(Checkpoint::read(folder / "a.ckpt").state, state));
}

TEST_CASE("A checkpoint refuses what it can't store, and writes nothing then", "[checkpoint]") {
  const TemporaryFolder folder;
  const auto write = [&](const Checkpoint& checkpoint) { checkpoint.write(folder / "a.ckpt"); };
  Checkpoint checkpoint = make_checkpoint(1);
  checkpoint.state.set("\xff", 1);
  CHECK_THROWS_WITH(write(checkpoint), Contains("isn't UTF-8") && Contains("a.ckpt"));
  checkpoint = make_checkpoint(1);
  checkpoint.state.set("optimizer/x", at::Tensor());
  CHECK_THROWS_WITH(write(checkpoint), Contains("\"optimizer/x\" is undefined"));
  checkpoint = make_checkpoint(1);
  checkpoint.model.emplace_back("x", at::Tensor());
  CHECK_THROWS_WITH(write(checkpoint), Contains("\"x\" is undefined"));
  for (const char* name : {"../evil", "/etc/evil", "", "a/../../b", "folder/"}) {
    checkpoint = make_checkpoint(1);
    checkpoint.assets.emplace_back(name, "x");
    CHECK_THROWS_WITH(write(checkpoint), Contains("asset name"));
  }
  checkpoint = make_checkpoint(1);
  checkpoint.assets.emplace_back("vocab.txt", "x");
  CHECK_THROWS_WITH(write(checkpoint), Contains("two assets are named \"vocab.txt\""));
  CHECK(names_in(folder.path()).empty());
}

TEST_CASE("A checkpoint is never replaced", "[checkpoint]") {
  const TemporaryFolder folder;
  make_checkpoint(1).write(folder / "a.ckpt");
  CHECK_THROWS_WITH(make_checkpoint(2).write(folder / "a.ckpt"),
                    Contains("a.ckpt") && Contains("exists already") && Contains("HINT"));
  write_file_atomically(folder / "b.ckpt", "a file");
  CHECK_THROWS_WITH(make_checkpoint(2).write(folder / "b.ckpt"), Contains("exists already"));
  CHECK(holds_step(Checkpoint::read(folder / "a.ckpt"), 1));
  for (const char* name : {"a", ".ckpt", ".a.ckpt", "a.ckpt.tmp"}) {
    CHECK_THROWS_WITH(make_checkpoint(2).write(folder / name), Contains("must end in \".ckpt\""));
  }
}

TEST_CASE("A checkpoint can't be written below a file", "[checkpoint]") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "runs", "");
  CHECK_THROWS_WITH(make_checkpoint(1).write(folder / "runs/1/a.ckpt"),
                    Contains("was not written") && Contains("runs\" is a file"));
}

TEST_CASE("A damaged checkpoint is refused, and the newest valid one named", "[checkpoint]") {
  const TemporaryFolder folder;
  make_checkpoint(1).write(folder / "one.ckpt");
  make_checkpoint(2).write(folder / "two.ckpt");
  const fs::path bad = folder / "three.ckpt";
  const auto check = [&](const std::string& message) {
    INFO(message);
    CHECK_THROWS_WITH(Checkpoint::read(bad), Contains(message) && Contains("three.ckpt") &&
                                                 Contains("HINT: use") && Contains("two.ckpt"));
    CHECK_THROWS_WITH(Checkpoint::verify(bad, /*checksums=*/true),
                      Contains(message) && Contains("two.ckpt\", the newest valid"));
    fs::remove_all(bad);
  };
  const auto write_bad = [&] { make_checkpoint(3).write(bad); };

  for (const char* file : {"model.safetensors", "state.safetensors", "state.json", "config.yaml",
                           "assets/vocab.txt", "assets/tables/a.json"}) {
    const std::string name = file;
    write_bad();
    fs::remove(bad / file);
    check(name + " is missing");
    write_bad();
    fs::resize_file(bad / file, fs::file_size(bad / file) - 1);
    check(name + " is damaged: it has");
    write_bad();
    overwrite(bad / file, fs::file_size(bad / file) - 1, '\x01');
    CHECK_NOTHROW(Checkpoint::verify(bad, /*checksums=*/false));
    check(name + " is damaged: its checksum is");
  }
  write_bad();
  fs::remove(bad / "manifest.json");
  check("is incomplete, it has no manifest.json");
  write_bad();
  const std::string manifest = read_file(bad / "manifest.json");
  overwrite(bad / "manifest.json", manifest.find("\"global_step\": 3") + 15, '4');
  check("its own checksum doesn't match");
  write_bad();
  fs::resize_file(bad / "manifest.json", 100);
  check("manifest.json is damaged");
  write_bad();
  write_file_atomically(bad / "manifest.json", "{}");
  check("manifest.json is damaged");
  check("doesn't exist");
  write_file_atomically(bad, "PK");
  check("is a file, but a checkpoint of this library is a directory");

  // The newest is damaged too.
  fs::remove(folder / "two.ckpt/state.json");
  CHECK_THROWS_WITH(Checkpoint::read(bad), Contains("one.ckpt"));
  fs::remove(folder / "one.ckpt/state.json");
  CHECK_THROWS_WITH(Checkpoint::read(bad),
                    Contains("there is no valid checkpoint in the same folder"));
}

TEST_CASE("A temporary directory is no checkpoint, however complete", "[checkpoint]") {
  const TemporaryFolder folder;
  make_checkpoint(1).write(folder / "a.ckpt");
  make_checkpoint(2).write(folder / "b.ckpt");
  const fs::path temporary = folder / (".b.ckpt.tmp-" + gone_process());
  fs::rename(folder / "b.ckpt", temporary);
  CHECK(listed(folder.path()) == Names{"a.ckpt"});
  CHECK_THROWS_WITH(Checkpoint::read(temporary), Contains("never committed") && Contains("a.ckpt"));
  // The next write tidies up.
  make_checkpoint(2).write(folder / "c.ckpt");
  CHECK(names_in(folder.path()) == Names{"a.ckpt", "c.ckpt"});
}

TEST_CASE("What a living process is at is left alone, and what isn't a checkpoint's",
          "[checkpoint]") {
  const TemporaryFolder folder;
  const std::string own = detail::to_tag(detail::own_process());
  const std::string gone = gone_process();
  const Names left = {".Trash-1000",
                      ".notes-" + gone,
                      ".trash-1000",
                      ".trash-x.ckpt-1-2-0123abcd",  // of a different machine, and new
                      ".x.ckpt.tmp-" + own,
                      ".x.ckpt.tmp-1-2-0123abcd",
                      ".x.ckpt.tmp-17"};
  for (const std::string& name : left) fs::create_directory(folder / name);
  for (const char* name : {".x.ckpt.tmp-", ".trash-x.ckpt-"}) {
    fs::create_directory(folder / (name + gone));
    // A day old, from wherever.
    const fs::path old = folder / (std::string(name) + "3-4-0123abcd");
    fs::create_directory(old);
    fs::last_write_time(old, fs::file_time_type::clock::now() - std::chrono::hours(25));
  }
  make_checkpoint(1).write(folder / "a.ckpt");
  lightning::remove_checkpoint(folder / "a.ckpt");
  Names expected = left;
  std::sort(expected.begin(), expected.end());
  CHECK(names_in(folder.path()) == expected);
}

TEST_CASE("A checkpoint may have the longest name that a file system takes", "[checkpoint]") {
  const TemporaryFolder folder;
  const fs::path path = folder / (std::string(250, 'x') + ".ckpt");
  make_checkpoint(1).write(path);
  CHECK(holds_step(Checkpoint::read(path), 1));
  lightning::remove_checkpoint(path);
  CHECK(fs::is_empty(folder.path()));
}

TEST_CASE("What isn't a checkpoint is never removed as one", "[checkpoint]") {
  const TemporaryFolder folder;
  make_checkpoint(1).write(folder / "a.ckpt");
  FileSystem::current().replace_link("a.ckpt", folder / "link.ckpt");
  FileSystem::current().replace_link("a.ckpt", folder / "last.ckpt");
  write_file_atomically(folder / "file.ckpt", "text");
  fs::create_directories(folder / "empty.ckpt/inside");
  fs::create_directories(folder / "data/inside");
  make_checkpoint(1).write(folder / "other.ckpt");
  fs::rename(folder / "other.ckpt", folder / "other");
  const Names before = names_in(folder.path());
  for (const char* name : {"link.ckpt", "last.ckpt", "file.ckpt", "empty.ckpt", "data", "other",
                           "missing.ckpt", "data/..", "."}) {
    CAPTURE(name);
    lightning::remove_checkpoint(folder / name);
    CHECK(names_in(folder.path()) == before);
  }
  CHECK(fs::is_directory(folder / "empty.ckpt/inside"));
  CHECK(holds_step(Checkpoint::read(folder / "a.ckpt"), 1));
}

TEST_CASE("A checkpoint of a newer format is refused with its writer's name", "[checkpoint]") {
  const TemporaryFolder folder;
  make_checkpoint(1).write(folder / "a.ckpt");
  std::string text = read_file(folder / "a.ckpt/manifest.json");
  text.replace(text.find("\"format_version\": 1"), 19, "\"format_version\": 2");
  write_file_atomically(folder / "a.ckpt/manifest.json", text);
  CHECK_THROWS_WITH(Checkpoint::read(folder / "a.ckpt"),
                    Contains("format version 2") && Contains("up to 1") &&
                        Contains("HINT: update the library") && Contains("lightning 0."));
}

TEST_CASE("Checkpoints are read through links, and links aren't listed", "[checkpoint]") {
  const TemporaryFolder folder;
  make_checkpoint(1).write(folder / "a.ckpt");
  FileSystem::current().replace_link("a.ckpt", folder / "last.ckpt");
  CHECK(holds_step(Checkpoint::read(folder / "last.ckpt"), 1));
  CHECK(listed(folder.path()) == Names{"a.ckpt"});
  FileSystem::current().replace_link("gone.ckpt", folder / "last.ckpt");
  CHECK_THROWS_WITH(Checkpoint::read(folder / "last.ckpt"),
                    Contains("is a link to \"gone.ckpt\"") && Contains("a.ckpt\", the newest"));
  // Moved folders go with their links.
  FileSystem::current().replace_link("a.ckpt", folder / "last.ckpt");
  fs::create_directory(folder / "moved");
  fs::rename(folder / "a.ckpt", folder / "moved/a.ckpt");
  fs::rename(folder / "last.ckpt", folder / "moved/last.ckpt");
  CHECK(holds_step(Checkpoint::read(folder / "moved/last.ckpt"), 1));
}

TEST_CASE("Checkpoints are listed by their step", "[checkpoint]") {
  const TemporaryFolder folder;
  make_checkpoint(100).write(folder / "a.ckpt");
  make_checkpoint(9).write(folder / "b.ckpt");
  make_checkpoint(20).write(folder / "c.ckpt");
  Checkpoint().write(folder / "no_step.ckpt");
  fs::create_directory(folder / "empty.ckpt");
  write_file_atomically(folder / "file.ckpt", "");
  CHECK(listed(folder.path()) == Names{"no_step.ckpt", "b.ckpt", "c.ckpt", "a.ckpt"});
  CHECK(lightning::list_checkpoints(folder / "missing").empty());
}

TEST_CASE("Removing a checkpoint leaves nothing of it", "[checkpoint]") {
  const TemporaryFolder folder;
  make_checkpoint(1).write(folder / "a.ckpt");
  make_checkpoint(2).write(folder / "b.ckpt");
  FileSystem::current().replace_link("a.ckpt", folder / "last.ckpt");
  fs::create_directory(folder / (".trash-x.ckpt-" + gone_process()));
  lightning::remove_checkpoint(folder / "b.ckpt");
  CHECK(names_in(folder.path()) == Names{"a.ckpt", "last.ckpt"});
  lightning::remove_checkpoint(folder / "b.ckpt");
  CHECK(holds_step(Checkpoint::read(folder / "a.ckpt"), 1));
}

TEST_CASE("A snapshot doesn't change with the tensors it was taken from", "[checkpoint]") {
  Checkpoint checkpoint = make_checkpoint(1);
  const Checkpoint snapshot = checkpoint.snapshot();
  find(checkpoint.model, "weight").fill_(9);
  checkpoint.state.get<at::Tensor>("optimizer/0/exp_avg").fill_(9);
  CHECK(holds_step(snapshot, 1));
  CHECK(find(snapshot.model, "weight").is_same(find(snapshot.model, "head")));
}
