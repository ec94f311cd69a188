/// FaultyFileSystem: the real disk, on which chosen calls fail, or which crashes at a chosen call.
/// It doesn't wait for the disk, so it is a quick one for tests that write much.
///
///   FaultyFileSystem disk;
///   disk.fail(DiskCall::kWrite, /*from=*/3, ENOSPC);      // the disk is full from then on
///   const lightning::ScopedFileSystem scope(disk);
///
/// After a crash (CrashException) every further call throws too, as nothing of a dead process runs;
/// then lose() takes away what a power failure may take.
#pragma once

#include <array>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

namespace lightning_tests {

enum class DiskCall {
  kOpen,
  kWrite,
  kSync,
  kClose,
  kCreateDirectories,
  kRename,
  kReplaceLink,
  kRemove,
  kResize,
  kSyncDirectory,
};
inline constexpr std::array kDiskCallNames = {"open",   "write",         "sync", "close",
                                              "mkdir",  "rename",        "link", "remove",
                                              "resize", "sync directory"};

struct CrashException {};

/// What a crash takes beside the process.
enum class Loss {
  kNothing,            // the machine keeps running
  kUnsyncedData,       // files end where they were last synced
  kUnsyncedFiles,      // and files made since their folder was synced are gone, but the last one:
                       // the disk keeps no order
  kUnsyncedEverything  // all of these files are gone, and renamings since are undone
};

class FaultyFileSystem final : public lightning::FileSystem {
 public:
  FaultyFileSystem() : real_(FileSystem::current()) {}

  /// Calls of that kind with a number (from 0) of at least `from` fail with this error number.
  void fail(DiskCall kind, int64_t from, int error) {
    failing_ = kind;
    fail_from_ = from;
    error_ = error;
  }
  /// The same, for calls that are about paths which contain `part`; `from` counts these alone.
  void fail_at(std::string part, DiskCall kind, int64_t from, int error) {
    fail(kind, from, error);
    failing_part_ = std::move(part);
  }
  /// The call with this number (of all kinds, from 0) is the last, and only half done.
  void crash_at(int64_t call) { crash_at_ = call; }
  int64_t calls() const { return calls_; }
  int64_t calls(DiskCall kind) const { return calls_of_kind_[static_cast<size_t>(kind)]; }
  void lose(Loss loss);

  std::unique_ptr<lightning::WritableFile> open_for_writing(
      const std::filesystem::path& path) override {
    return open(path, /*append=*/false);
  }
  std::unique_ptr<lightning::WritableFile> open_for_appending(
      const std::filesystem::path& path) override {
    return open(path, /*append=*/true);
  }
  void create_directories(const std::filesystem::path& path) override {
    run(DiskCall::kCreateDirectories, path, [&] { std::filesystem::create_directories(path); });
  }
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    run(DiskCall::kRename, to, [&] { real_.rename(from, to); });
    // What was made in there is elsewhere now.
    for (NameChange& change : names_) {
      if (change.from.empty()) change.to = moved(change.to, from, to);
    }
    std::map<std::filesystem::path, uint64_t> synced_bytes;
    for (const auto& [path, size] : synced_bytes_) synced_bytes[moved(path, from, to)] = size;
    synced_bytes_ = std::move(synced_bytes);
    names_.push_back({.from = from, .to = to});
  }
  void replace_link(const std::filesystem::path& target,
                    const std::filesystem::path& link) override {
    run(DiskCall::kReplaceLink, link, [&] { real_.replace_link(target, link); });
  }
  void remove_all(const std::filesystem::path& path) override {
    run(
        DiskCall::kRemove, path, [&] { real_.remove_all(path); },
        [&] {  // one file is gone when the crash comes
          std::error_code nothing_there;
          for (const auto& entry :
               std::filesystem::recursive_directory_iterator(path, nothing_there)) {
            if (!entry.is_regular_file()) continue;
            std::filesystem::remove(entry.path());
            break;
          }
        });
  }
  void resize_file(const std::filesystem::path& path, size_t size_bytes) override {
    run(DiskCall::kResize, path, [&] { real_.resize_file(path, size_bytes); });
  }
  void sync_directory(const std::filesystem::path& path) override {
    run(DiskCall::kSyncDirectory, path, [] {});
    std::erase_if(names_, [&](const NameChange& change) { return change.folder() == path; });
  }

 private:
  class File;
  struct NameChange {
    std::filesystem::path from;  // empty: made
    std::filesystem::path to;
    std::filesystem::path folder() const { return to.parent_path(); }
  };

  /// Where a path is after renaming.
  static std::filesystem::path moved(const std::filesystem::path& path,
                                     const std::filesystem::path& from,
                                     const std::filesystem::path& to) {
    if (path == from) return to;
    const auto relative = path.lexically_relative(from);
    const bool below = !relative.empty() && *relative.begin() != "..";
    return below ? to / relative : path;
  }

  template <typename Call, typename HalfCall>
  void run(DiskCall kind, const std::filesystem::path& path, const Call& call,
           const HalfCall& half_call) {
    if (calls_ > crash_at_) throw CrashException();
    const int64_t number = calls_of_kind_[static_cast<size_t>(kind)]++;
    if (calls_++ == crash_at_) {
      half_call();
      throw CrashException();
    }
    if (kind == failing_ && path.string().find(failing_part_) != std::string::npos &&
        (failing_part_.empty() ? number : calls_of_part_++) >= fail_from_) {
      throw lightning::CheckpointError(
          lightning::io_error_text(kDiskCallNames[static_cast<size_t>(kind)], path, error_));
    }
    call();
  }
  template <typename Call>
  void run(DiskCall kind, const std::filesystem::path& path, const Call& call) {
    run(kind, path, call, [] {});
  }
  std::unique_ptr<lightning::WritableFile> open(const std::filesystem::path& path, bool append);

  FileSystem& real_;
  int64_t calls_ = 0;
  std::array<int64_t, kDiskCallNames.size()> calls_of_kind_{};
  int64_t crash_at_ = INT64_MAX;
  DiskCall failing_ = DiskCall::kOpen;
  int64_t fail_from_ = INT64_MAX;
  int error_ = 0;
  std::string failing_part_;
  int64_t calls_of_part_ = 0;
  std::map<std::filesystem::path, uint64_t> synced_bytes_;
  std::vector<NameChange> names_;  // not synced
};

class FaultyFileSystem::File final : public lightning::WritableFile {
 public:
  File(FaultyFileSystem& disk, std::filesystem::path path, bool append)
      : disk_(disk),
        path_(std::move(path)),
        real_(append ? disk.real_.open_for_appending(path_) : disk.real_.open_for_writing(path_)) {}
  using WritableFile::write;
  void write(const void* data, size_t size_bytes) override {
    disk_.run(
        DiskCall::kWrite, path_, [&] { real_->write(data, size_bytes); },
        [&] { real_->write(data, size_bytes / 2); });
  }
  void sync() override {
    disk_.run(DiskCall::kSync, path_, [] {});
    disk_.synced_bytes_[path_] = std::filesystem::file_size(path_);
  }
  void close() override {
    disk_.run(DiskCall::kClose, path_, [&] { real_->close(); });
  }

 private:
  FaultyFileSystem& disk_;
  std::filesystem::path path_;
  std::unique_ptr<lightning::WritableFile> real_;
};

inline std::unique_ptr<lightning::WritableFile> FaultyFileSystem::open(
    const std::filesystem::path& path, bool append) {
  std::unique_ptr<lightning::WritableFile> file;
  const bool is_new = !std::filesystem::exists(path);
  run(DiskCall::kOpen, path, [&] { file = std::make_unique<File>(*this, path, append); });
  synced_bytes_[path] = append ? std::filesystem::file_size(path) : 0;
  if (is_new) names_.push_back({.from = {}, .to = path});
  return file;
}

inline void FaultyFileSystem::lose(Loss loss) {
  std::error_code ignored;
  if (loss != Loss::kNothing) {
    for (const auto& [path, size] : synced_bytes_) {
      if (std::filesystem::exists(path)) std::filesystem::resize_file(path, size, ignored);
    }
  }
  if (loss < Loss::kUnsyncedFiles) return;
  std::vector<std::filesystem::path> made;
  for (const NameChange& change : names_) {
    if (change.from.empty()) made.push_back(change.to);
  }
  if (loss == Loss::kUnsyncedFiles && !made.empty()) made.pop_back();
  for (const auto& path : made) std::filesystem::remove(path, ignored);
  if (loss < Loss::kUnsyncedEverything) return;
  for (auto change = names_.rbegin(); change != names_.rend(); ++change) {
    if (!change->from.empty()) std::filesystem::rename(change->to, change->from, ignored);
  }
}

}  // namespace lightning_tests
