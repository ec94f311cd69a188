#include <lightning/loggers/detail/log_file.h>

#include <utility>

#include <lightning/util/detail/disk.h>
#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

constexpr std::chrono::seconds kFlushInterval{1};
constexpr size_t kMaxBufferBytes = 1 << 20;

}  // namespace

LogFile::~LogFile() {
  try {
    close();
  } catch (const CheckpointError&) {
    // finalize() is where errors are reported.
  }
}

void LogFile::open(const std::filesystem::path& path) {
  path_ = path;
  buffer_.clear();
  file_ = FileSystem::current().open_for_appending(path);
  written_bytes_ = file_bytes(path).value_or(0);
  last_flush_ = std::chrono::steady_clock::now();
}

void LogFile::row_done() {
  if (buffer_.size() >= kMaxBufferBytes ||
      std::chrono::steady_clock::now() - last_flush_ >= kFlushInterval) {
    flush();
  }
}

void LogFile::flush() {
  last_flush_ = std::chrono::steady_clock::now();
  if (buffer_.empty()) return;
  try {
    file_->write(buffer_);
  } catch (...) {
    buffer_.clear();
    throw;
  }
  written_bytes_ += buffer_.size();
  buffer_.clear();
}

void LogFile::sync() {
  flush();
  file_->sync();
}

void LogFile::close() {
  if (file_ == nullptr) return;
  flush();
  const std::unique_ptr<WritableFile> file = std::move(file_);
  file->close();
}

}  // namespace lightning::detail
