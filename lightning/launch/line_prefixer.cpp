#include <lightning/launch/line_prefixer.h>

#include <climits>
#include <cstddef>
#include <utility>

namespace lightning::detail {
namespace {

// A longer line is written in pieces: output without any line end must not fill the memory.
constexpr size_t kLongestLine = 1 << 20;

}  // namespace

LinePrefixer::LinePrefixer(std::string prefix, Sink sink)
    : prefix_(std::move(prefix)), sink_(std::move(sink)) {}

void LinePrefixer::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    partial_.append(bytes.substr(0, end));
    bytes.remove_prefix(end == std::string_view::npos ? bytes.size() : end + 1);
    if (end == std::string_view::npos && partial_.size() < kLongestLine) break;
    add_line(partial_);
    partial_.clear();
  }
  flush();
}

void LinePrefixer::finish() {
  if (partial_.empty()) return;
  add_line(partial_);
  partial_.clear();
  flush();
}

void LinePrefixer::add_line(std::string_view line) {
  const size_t length = prefix_.size() + line.size() + 1;
  if (lines_.size() + length > PIPE_BUF) flush();
  lines_.append(prefix_).append(line).push_back('\n');
}

void LinePrefixer::flush() {
  if (!lines_.empty()) sink_(lines_);
  lines_.clear();
}

}  // namespace lightning::detail
